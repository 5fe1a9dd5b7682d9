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

// The page's own colour where it fits the theme, so that the chart does not look pasted in.
function background(el, dark) {
  for (let node = el; node; node = node.parentElement) {
    const [red, green, blue, alpha = 1] = getComputedStyle(node).backgroundColor.match(/[\d.]+/g)?.map(Number) ?? [];
    if (red === undefined || alpha === 0) continue;
    const isLight = 0.3 * red + 0.6 * green + 0.1 * blue > 128;
    return isLight === dark ? {} : {background: `rgb(${red}, ${green}, ${blue})`};
  }
  return {};
}

// Vega cuts a long title off; here it is broken to the chart's width.
function wrapped(spec, width) {
  const text = typeof spec?.title === "string" || Array.isArray(spec?.title) ? [spec.title].flat().join(" ") : "";
  if (!text) return spec;
  const letters = Math.max(20, Math.floor((width - 24) / 8.8));
  const lines = [""];
  for (const word of text.split(" ")) {
    if (lines.at(-1) && lines.at(-1).length + word.length >= letters) lines.push("");
    lines.push(`${lines.pop()} ${word}`.trim());
  }
  return {...spec, title: lines};
}

function themed(model, el, drawn) {
  const options = () => {
    const dark = isDark();
    const config = {...model.get("_themes")[dark ? "dark" : "light"], ...background(el, dark)};
    if (el.clientWidth < 480) config.legend = {...config.legend, columns: 2};
    return {actions: false, renderer: "svg", config, tooltip: {theme: dark ? "dark" : "light"},
            ...(model.get("embed_options") ?? {})};
  };
  const own = {
    get: name => {
      if (name === "embed_options") return options();
      if (name !== "spec") return model.get(name);
      drawn.width = el.clientWidth;
      return wrapped(model.get(name), drawn.width);
    },
    on: (event, callback) => {
      if (event !== "change:spec" && event !== "change:embed_options") return model.on(event, callback);
      drawn.again[event] ??= oneAtATime(callback);
      return model.on(event, drawn.again[event]);
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
    const drawn = {width: 0, again: {}};  // for which width, and how to do it again
    await draw({model: themed(model, el, drawn), el, ...rest});

    let dark = isDark();
    const follow = () => {
      if (isDark() !== dark) {
        dark = !dark;
        drawn.again["change:spec"]?.();
      }
    };
    const theme = new MutationObserver(follow);
    theme.observe(document.body, {attributes: true, attributeFilter: ["data-jp-theme-light"]});
    const system = matchMedia("(prefers-color-scheme: dark)");
    system.addEventListener("change", follow);

    // A chart made in a hidden place (a closed tab, a page still loading) has no width yet.
    const size = new ResizeObserver(() => {
      if (el.clientWidth && el.clientWidth !== drawn.width) drawn.again["change:spec"]?.();
    });
    size.observe(el);
    return () => {
      theme.disconnect();
      size.disconnect();
      system.removeEventListener("change", follow);
    };
  },
};
