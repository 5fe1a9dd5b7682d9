
// Beside the page, in a thread of its own: loads ONNX Runtime and a model, and answers texts one by one.
// The tokenizer above stands in the same module: a worker from memory cannot import a second file.

const memories = [];
WebAssembly.Memory = class extends WebAssembly.Memory {  // the runtime does not say how much it takes
  constructor(limits) {
    super(limits);
    memories.push(this);
  }
};

async function unpacked(content) {
  return new Response(new Blob([content]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

let ort, session, tokenizer;

async function load({script, wasm, graph, pieces, rules}) {
  const began = performance.now();
  const code = new Blob([await unpacked(script)], {type: "text/javascript"});
  ort = await import(URL.createObjectURL(code));
  ort.env.wasm.numThreads = 1;  // more would need headers that keep other sites' parts out of the page
  ort.env.wasm.wasmBinary = await unpacked(wasm);
  session = await ort.InferenceSession.create(new Uint8Array(graph), {executionProviders: ["wasm"]});
  tokenizer = new WordPiece(new TextDecoder().decode(pieces).split("\n"), rules);
  return (performance.now() - began) / 1000;
}

// What a visitor waits for: tokenizing is a part of it.
async function answer(text) {
  const began = performance.now();
  const ids = tokenizer.encode(text);
  const tensor = (values) => new ort.Tensor("int64", BigInt64Array.from(values, BigInt), [1, ids.length]);
  const {logits} = await session.run({input_ids: tensor(ids), attention_mask: tensor(ids.map(() => 1))});
  return {logits: logits.data, ms: performance.now() - began};
}

async function measure({texts, rounds}, load_s) {
  const ms = new Float64Array(rounds * texts.length), rows = [];
  for (let round = -1; round < rounds; round++) {  // the first warms up
    for (const [number, text] of texts.entries()) {
      const answered = await answer(text);
      if (round < 0) rows.push(...answered.logits);
      else ms[round * texts.length + number] = answered.ms;
    }
    postMessage({progress: (round + 2) / (rounds + 1)});
  }
  const memory_bytes = memories.reduce((sum, memory) => sum + memory.buffer.byteLength, 0);
  const logits = Float32Array.from(rows);
  postMessage({done: {load_s, memory_bytes}, ms, logits}, [ms.buffer, logits.buffer]);
}

onmessage = async ({data}) => {
  try {
    if (data.begin) await measure(data.begin, await load(data.begin));
    else postMessage({answered: await answer(data.text)});
  } catch (error) {
    postMessage({failed: String(error?.message ?? error)});
  }
};
