// Copies a script that the kernel writes, and shows it: some browsers let no page copy by itself.

export default {
  render({model, el}) {
    el.className = "app-code";
    const button = document.createElement("button");
    button.className = "jupyter-button";
    button.textContent = "Copy this setting as code";
    const said = document.createElement("span");
    said.setAttribute("role", "status");
    const code = document.createElement("pre");
    code.tabIndex = 0;
    code.setAttribute("role", "region");
    code.setAttribute("aria-label", "Code");
    code.hidden = true;
    el.append(button, said, code);
    button.onclick = () => model.send({});
    const show = async message => {
      code.textContent = message.code;
      code.hidden = false;
      try {
        await navigator.clipboard.writeText(message.code);
        said.textContent = "Copied. It runs wherever this project is installed.";
      } catch {  // not a secure address, or the reader does not allow it
        getSelection().selectAllChildren(code);
        said.textContent = "Selected below: copy it from there.";
      }
    };
    model.on("msg:custom", show);
    return () => model.off("msg:custom", show);
  },
};
