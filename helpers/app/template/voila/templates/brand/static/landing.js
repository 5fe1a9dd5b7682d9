// The bill follows its form: each change asks for it again, and puts the numbers into the address.
(() => {
  const form = document.getElementById("bill-form");
  const REPLACED = ["bill", "bill-pages"];
  let latest = 0;

  async function follow() {
    const mine = ++latest;
    const query = new URLSearchParams();
    // An empty field counts as its usual value: it shows that.
    for (const field of form.elements) if (!field.value.trim() && field.dataset.usual) field.value = field.dataset.usual;
    for (const [name, value] of new FormData(form)) {
      // What is kept as today's has no usual value: it always goes along.
      if (value.trim() !== form.elements[name].dataset.usual) query.set(name, value.trim());
    }
    const address = [location.pathname, query].filter(String).join("?");
    const answer = await fetch(address);
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (mine !== latest) return;  // the reader has moved on
    history.replaceState(history.state, "", address);
    for (const id of REPLACED) document.getElementById(id).innerHTML = page.getElementById(id).innerHTML;
  }

  const say = error => {
    document.getElementById("bill").textContent = `The server does not answer (${error.message}). Try it once more.`;
  };
  form.addEventListener("change", () => follow().catch(say));
  form.addEventListener("submit", event => {
    event.preventDefault();
    follow().catch(say);
  });

  // What was changed before this script had come, or was put back by the browser, has told nobody. A field in which
  // the reader still writes tells it on being left.
  const came = field => field.options ? ([...field.options].find(one => one.defaultSelected) ?? field.options[0]).value
    : field.defaultValue;
  const changed = field => field.name && field !== document.activeElement && field.value !== came(field);
  addEventListener("pageshow", () => {
    if (!latest && [...form.elements].some(changed)) follow().catch(say);
  });
})();
