// Buttons that save what the kernel makes; no server has to list or keep a file.

export default {
  render({model, el}) {
    el.className = "app-downloads";
    for (const name of model.get("names")) {
      const button = document.createElement("button");
      button.className = "jupyter-button";
      button.textContent = `Download ${name}`;
      button.onclick = () => model.send({make: name});
      el.append(button);
    }
    const save = (message, buffers) => {
      if (!buffers?.length) return;
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([buffers[0]], {type: message.mime}));
      link.download = message.file;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    };
    model.on("msg:custom", save);
    return () => model.off("msg:custom", save);
  },
};
