// Settings in the page's address: read once when the page opens, replaced when a control changes.

export default {
  initialize({model}) {
    model.set("query", Object.fromEntries(new URLSearchParams(location.search)));
    model.save_changes();
    model.on("change:push", () => {
      const url = new URL(location.href);
      for (const [key, value] of Object.entries(model.get("push"))) url.searchParams.set(key, value);
      history.replaceState(history.state, "", url);
    });
  },
  render({el}) {
    el.style.display = "none";
  },
};
