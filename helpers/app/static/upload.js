// A button that takes one file. Its size is looked at here: a message that is too long would cut the line to the kernel,
// and the page would go on as if the file before it were the new one.

export default {
  render({model, el}) {
    el.className = "app-upload";
    const label = document.createElement("label");
    const input = document.createElement("input");
    input.type = "file";
    input.accept = model.get("accept");
    input.setAttribute("aria-label", model.get("label"));
    input.onclick = () => { input.value = ""; };  // the same file again, after it was changed, counts too
    input.onchange = async () => {
      const file = input.files[0];
      if (!file) return;
      const about = {name: file.name, size: file.size};
      let content = [];
      if (file.size <= model.get("max_bytes")) {
        try {
          content = [await file.arrayBuffer()];
        } catch {  // gone, or not to be read: the kernel says so of a file that comes without its content
        }
      }
      model.send(about, undefined, content);
    };
    label.append(`${model.get("label")} `, input);
    el.append(label);
  },
};
