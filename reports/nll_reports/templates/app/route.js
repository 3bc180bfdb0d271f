// Addresses: #/view/part/part?filter=value. Every state that can be linked to is in the hash.

const FILTERS = ["family", "dtype", "device", "level", "outcome", "q"];

function parse(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?");
  const parts = path.split("/").map((part) => {
    try { return decodeURIComponent(part); } catch { return part; }
  });
  return {view: parts[0] || "matrix", parts: parts.slice(1), query: new URLSearchParams(query)};
}

function address(view, parts = [], query = {}) {
  const kept = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value) kept.set(name, value);
  const text = kept.toString();
  return `#/${[view, ...parts].map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`;
}

/** The filters in force, to be carried along by links. */
function filtersOf(route) {
  return Object.fromEntries(FILTERS.map((name) => [name, route.query.get(name) || ""]));
}

const toImplementation = (item, route) => address("implementation", [item.label], route ? filtersOf(route) : {});
const toRule = (rule, route) => address("rule", [rule.id], route ? filtersOf(route) : {});
const toFailure = (result) =>
  address("failure", [result.implementation.label, result.rule.id, result.dtype, result.device]);

/** The same view with other values in its query; a new entry of the history unless `quietly`. */
function go(route, changed, quietly = false) {
  const query = {...Object.fromEntries(route.query), ...changed};
  const next = address(route.view, route.parts, query);
  if (next === location.hash) return;
  history[quietly ? "replaceState" : "pushState"](null, "", next);
  render();
}
