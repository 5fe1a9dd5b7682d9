// Draws one chart with the page's only copy of Vega, in the page's light or dark colours.

const MAX_DRAWINGS = 24;  // of a chart that are cached, to show them again at once

function loadVega(model) {
  globalThis.__helpersVega ??= (async () => {
    const id = model.get("_runtime").slice("IPY_MODEL_".length);
    const runtime = await model.widget_manager.get_model(id);
    const packed = new Blob([runtime.get("packed")]).stream();
    const text = await new Response(packed.pipeThrough(new DecompressionStream("gzip"))).text();
    return (await import(URL.createObjectURL(new Blob([text], {type: "text/javascript"})))).embed;
  })();
  return globalThis.__helpersVega;
}

function isDark() {
  const light = document.body.dataset.jpThemeLight;  // JupyterLab and our pages say it; others follow the system
  return light === undefined ? matchMedia("(prefers-color-scheme: dark)").matches : light === "false";
}

// Two drawings at once could end in the wrong order: the last one asked for wins.
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
  const title = spec.title?.text ?? spec.title;
  const text = typeof title === "string" || Array.isArray(title) ? [title].flat().join(" ") : "";
  if (!text) return spec;
  const letters = Math.max(20, Math.floor((width - 24) / 8.8));
  const lines = [""];
  for (const word of text.split(" ")) {
    if (lines.at(-1) && lines.at(-1).length + word.length >= letters) lines.push("");
    lines.push(`${lines.pop()} ${word}`.trim());
  }
  return {...spec, title: spec.title?.text ? {...spec.title, text: lines} : lines};
}

function options(model, el, dark) {
  const config = {...model.get("_themes")[dark ? "dark" : "light"], ...background(el, dark)};
  if (el.clientWidth < 480) config.legend = {...config.legend, columns: 2};
  return {actions: false, renderer: "svg", config, tooltip: {theme: dark ? "dark" : "light"}};
}

// The drawings of one width and theme, the last used last; those that are too many are given up.
class Drawings {
  constructor() {
    this.byText = new Map();
  }

  async get(text, make) {
    const found = this.byText.get(text) ?? await make();
    this.byText.delete(text);
    this.byText.set(text, found);
    for (const [old, drawing] of this.byText) {
      if (this.byText.size <= MAX_DRAWINGS) break;
      this.byText.delete(old);
      drawing.finalize();
    }
    return found;
  }

  clear() {
    for (const drawing of this.byText.values()) drawing.finalize();
    this.byText.clear();
  }
}

export default {
  async render({model, el}) {
    el.classList.add("app-chart");
    const embed = await loadVega(model);
    const drawings = new Drawings();
    let width, dark;

    const draw = oneAtATime(async () => {
      if (el.clientWidth !== width || isDark() !== dark) {
        drawings.clear();
        width = el.clientWidth;
        dark = isDark();
      }
      const spec = wrapped(model.get("spec"), width);
      const drawing = await drawings.get(JSON.stringify(spec), async () => {
        const place = document.createElement("div");
        place.className = "app-chart-next";  // over the old one, unseen, so that the page does not jump
        el.append(place);
        try {
          const {finalize} = await embed(place, structuredClone(spec), options(model, el, dark));
          return {place, finalize};
        } catch (error) {
          place.textContent = `This chart cannot be drawn: ${error.message}`;
          return {place, finalize: () => {}};
        }
      });
      drawing.place.classList.remove("app-chart-next");
      el.replaceChildren(drawing.place);
    });
    // All that asks for another drawing is listened to before the first, which takes a moment.
    model.on("change:spec", draw);
    const follow = () => {
      if (isDark() !== dark) draw();
    };
    const theme = new MutationObserver(follow);
    theme.observe(document.body, {attributes: true, attributeFilter: ["data-jp-theme-light"]});
    const system = matchMedia("(prefers-color-scheme: dark)");
    system.addEventListener("change", follow);
    // A chart made in a hidden place (a closed tab, a page still loading) has no width yet.
    const size = new ResizeObserver(() => {
      if (el.clientWidth && el.clientWidth !== width) draw();
    });
    size.observe(el);
    await draw();
    return () => {
      model.off("change:spec", draw);
      theme.disconnect();
      size.disconnect();
      system.removeEventListener("change", follow);
      drawings.clear();
    };
  },
};
