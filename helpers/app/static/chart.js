// Draws one chart with the page's only copy of Vega, in the page's light or dark colours.

function loadVega(model) {
  globalThis.__helpersVega ??= (async () => {
    const id = model.get("_runtime").slice("IPY_MODEL_".length);
    const runtime = await model.widget_manager.get_model(id);
    const packed = new Blob([runtime.get("packed")]).stream();
    const text = await new Response(packed.pipeThrough(new DecompressionStream("gzip"))).text();
    const module = await import(URL.createObjectURL(new Blob([text], {type: "text/javascript"})));
    return module.default?.render ?? module.render;
  })();
  return globalThis.__helpersVega;
}

function isDark() {
  const light = document.body.dataset.jpThemeLight;  // JupyterLab and our pages say it; others follow the system
  return light === undefined ? matchMedia("(prefers-color-scheme: dark)").matches : light === "false";
}

// Altair draws again at each change and waits in between: two drawings at once would leave both on the page.
function oneAtATime(draw) {
  let drawing = false, again = false;
  return async () => {
    again = true;
    if (drawing) return;
    drawing = true;
    try {
      while (again) {
        again = false;
        await draw();
      }
    } finally {
      drawing = false;
    }
  };
}

function themed(model, redraws) {
  const options = () => {
    const dark = isDark();
    return {actions: false, renderer: "svg", config: model.get("_themes")[dark ? "dark" : "light"],
            tooltip: {theme: dark ? "dark" : "light"}, ...(model.get("embed_options") ?? {})};
  };
  const own = {
    get: name => name === "embed_options" ? options() : model.get(name),
    on: (event, callback) => {
      if (event !== "change:spec" && event !== "change:embed_options") return model.on(event, callback);
      redraws[event] ??= oneAtATime(callback);
      return model.on(event, redraws[event]);
    },
  };
  return new Proxy(model, {
    get: (target, key) => own[key] ?? (typeof target[key] === "function" ? target[key].bind(target) : target[key]),
  });
}

export default {
  async render({model, el, ...rest}) {
    el.classList.add("app-chart");
    const draw = await loadVega(model);
    const redraws = {};
    await draw({model: themed(model, redraws), el, ...rest});

    let dark = isDark();
    const follow = () => {
      if (isDark() !== dark) {
        dark = !dark;
        redraws["change:spec"]?.();
      }
    };
    const theme = new MutationObserver(follow);
    theme.observe(document.body, {attributes: true, attributeFilter: ["data-jp-theme-light"]});
    const system = matchMedia("(prefers-color-scheme: dark)");
    system.addEventListener("change", follow);

    // A chart made in a hidden place (a closed tab, a page still loading) has no width yet; Vega only
    // looks again when the window's size changes.
    let width = el.clientWidth;
    const size = new ResizeObserver(() => {
      if (el.clientWidth && el.clientWidth !== width) {
        width = el.clientWidth;
        window.dispatchEvent(new Event("resize"));
      }
    });
    size.observe(el);
    return () => {
      theme.disconnect();
      size.disconnect();
      system.removeEventListener("change", follow);
    };
  },
};
