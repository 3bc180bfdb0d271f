// The page: an address, a view, a title; back and forward work because the address is all.

const VIEWS = {
  matrix: ["Matrix", matrixView],
  failures: ["Failures", failuresView],
  accuracy: ["Accuracy", accuracyView],
  speed: ["Speed and memory", speedView],
  history: ["History", historyView],
  detection: ["Detection", detectionView],
  implementation: [null, implementationView],
  rule: [null, ruleView],
  failure: [null, failureView],
};
const BELONGS = {implementation: "matrix", rule: "matrix", failure: "failures"};
const scrolled = new Map();
let shownPath = null;
let shownHash = "";

function nav(route) {
  const inView = BELONGS[route.view] || route.view;
  const filters = filtersOf(route);
  document.getElementById("nav").replaceChildren(...Object.entries(VIEWS).filter(([, [name]]) => name).map(([view, [name]]) => {
    const carried = Object.fromEntries(Object.entries(filters).filter(([key]) => FILTERED[view].includes(key) && key !== "q" && key !== "outcome"));
    return h("a", {href: address(view, [], carried), "aria-current": view === inView ? "page" : null}, name);
  }));
}

function notices() {
  if (!DATA.notices.length) return;
  const items = DATA.notices.map(([source, text]) => h("li", {}, source ? [h("code", {}, source), ": "] : null, text.startsWith(source) ? text.slice(source.length).replace(/^[:\s]+/, "") : text));
  document.getElementById("notices").append(h("details", {open: items.length <= 3 && innerWidth >= 640}, h("summary", {}, plural(items.length, "notice")), h("ul", {}, items)));
}

function render() {
  const route = parse(location.hash);
  const [, view] = VIEWS[route.view] || [null, () => missing("view", route.view)];
  const path = [route.view, ...route.parts].join("/");
  const moved = path !== shownPath;
  if (moved) scrolled.set(shownHash, scrollY);
  nav(route);
  if (VIEWS[route.view]) syncFilters(route);
  const main = document.getElementById("main");
  const inner = main.querySelector(".scroll.tall");
  const at = !moved && inner ? [inner.scrollLeft, inner.scrollTop] : [0, 0];
  main.replaceChildren(...[view(route)].flat(Infinity).filter((node) => node !== null && node !== undefined && node !== false));
  const again = main.querySelector(".scroll.tall");
  if (again && (at[0] || at[1])) again.scrollTo(...at);
  const heading = main.querySelector("h1");
  document.title = `${heading ? heading.textContent : route.view} · ${DATA.title}`;
  if (moved && shownPath !== null) {
    heading?.focus({preventScroll: true});
    scrollTo(0, scrolled.get(location.hash) || 0);
  }
  if (!moved) say(`${main.querySelectorAll("tbody tr:not(.group)").length} rows`);
  shownPath = path;
  shownHash = location.hash;
}

notices();
buildFilters();
addEventListener("hashchange", render);
DARK.addEventListener("change", render);
render();
