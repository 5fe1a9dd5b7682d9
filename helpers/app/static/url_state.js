// Settings in the page's address: read once when the page opens, replaced when a control changes.

export default () => {
  let read = false;
  return {
    initialize({model}) {
      model.on("change:push", () => {
        const url = new URL(location.href);
        for (const [key, value] of Object.entries(model.get("push"))) url.searchParams.set(key, value);
        history.replaceState(history.state, "", url);
      });
    },
    // Not earlier: the kernel answers by moving controls, and before the panel is shown the page
    // may not have made them yet and would miss the answer.
    render({model, el}) {
      el.style.display = "none";
      if (read) return;
      read = true;
      model.set("query", Object.fromEntries(new URLSearchParams(location.search)));
      model.save_changes();
    },
  };
};
