// A model on the visitor's own device. It is loaded when the kernel says so, in parts, and runs in a worker.

const NAMES = {script: "the program", wasm: "the program", graph: "the model", pieces: "the vocabulary"};

// Parts as they come, also those that a second tab asked for.
class Parts {
  constructor(model) {
    this.model = model;
    this.here = new Map();
    this.waiting = new Map();
  }

  take(name, number, content) {
    this.here.set(`${name} ${number}`, content);
    this.waiting.get(`${name} ${number}`)?.();
  }

  async file(name, count, tell) {
    const parts = [];
    for (let number = 0; number < count; number++) {
      const key = `${name} ${number}`;
      tell(number / count);
      if (!this.here.has(key)) {
        const come = new Promise((resolve) => this.waiting.set(key, resolve));
        this.model.send({part: name, number});
        await come;
      }
      parts.push(this.here.get(key));
    }
    return new Blob(parts).arrayBuffer();
  }
}

function element(tag, text, name) {
  const made = document.createElement(tag);
  made.textContent = text;
  if (name) made.className = name;
  return made;
}

// The reader's own message, answered without a word to the server.
function question(labels, ask) {
  const form = document.createElement("form"), input = document.createElement("input");
  const label = element("label", "Your own message, answered here; nothing is sent: "), said = element("output", "");
  input.maxLength = 2000;
  label.append(input);
  form.append(label, element("button", "Answer", "jupyter-button"), said);
  form.onsubmit = (event) => {
    event.preventDefault();
    ask(input.value);
  };
  form.answered = ({logits, ms}) => {
    said.textContent = `${labels[logits.indexOf(Math.max(...logits))]}, in ${ms.toFixed(1)} ms`;
  };
  return form;
}

export default {
  render({model, el}) {
    el.className = "app-device";
    let worker, parts, run = 0;

    const end = () => {
      worker?.terminate();
      worker = undefined;
      run += 1;
    };

    const begin = async ({counts, labels, ...about}) => {
      end();
      const mine = run, said = element("span", ""), bar = document.createElement("progress");
      const stop = element("button", "Stop", "jupyter-button");
      const form = question(labels, (text) => worker?.postMessage({text}));
      bar.setAttribute("aria-label", "How far it is");
      parts = new Parts(model);
      stop.onclick = () => {
        end();
        el.replaceChildren(element("span", "Stopped."));
      };
      el.replaceChildren(bar, said, stop);
      const tell = (sentence, share) => {
        said.textContent = sentence;
        bar.value = share;
      };
      const files = {};
      for (const [name, count] of Object.entries(counts)) {
        files[name] = await parts.file(name, count, (share) => tell(`Loading ${NAMES[name]}`, share));
        if (mine !== run) return;
      }
      parts = undefined;
      tell("Starting it", 0);
      worker = new Worker(URL.createObjectURL(new Blob([model.get("worker")], {type: "text/javascript"})),
                          {type: "module"});
      const failed = (why) => {
        end();
        el.replaceChildren();
        model.send({failed: why});
      };
      worker.onerror = (event) => failed(event.message || "its worker cannot start");
      worker.onmessage = ({data}) => {
        if (data.failed !== undefined) failed(data.failed);
        else if (data.progress !== undefined) tell("Answering on this device", data.progress);
        else if (data.answered) form.answered(data.answered);
        else {
          el.replaceChildren(form);
          model.send(data.done, undefined, [data.ms, data.logits]);
        }
      };
      worker.postMessage({begin: {...about, ...files}}, Object.values(files));
    };

    const take = (message, buffers) => {
      if (message.begin) begin(message.begin);
      else if (message.part) parts?.take(message.part, message.number, buffers[0]);
    };
    model.on("msg:custom", take);
    return () => {
      model.off("msg:custom", take);
      end();
    };
  },
};
