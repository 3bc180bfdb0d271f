// The filter bar: built once, so that it keeps the focus; the hash is its state.

const FILTERED = {
  matrix: FILTERS,
  failures: FILTERS,
  implementation: ["dtype", "device", "level", "outcome", "q"],
  rule: ["family", "dtype", "device", "outcome", "q"],
  accuracy: ["family", "dtype", "device", "q"],
  speed: ["family", "dtype", "device", "q"],
  history: ["family", "q"],
  detection: ["family", "q"],
};

function choices(name) {
  if (name === "level") return ["must", "should"];
  if (name === "outcome") return ["judged", "unjudged", ...M.outcomes.filter((o) => RESULTS.some((r) => r.outcome === o))];
  const speed = DATA.speed;
  const at = speed.columns.indexOf(name);
  const values = name === "family"
    ? [...IMPLEMENTATIONS.map((item) => item.family), ...speed.names.map(([, family]) => family)]
    : [...(name === "dtype" ? M.dtypes : M.devices), ...speed.rows.map((row) => row[at])];
  return [...new Set(values)];
}

const OUTCOME_WORDS = {judged: "all judged", unjudged: "all not judged"};

function buildFilters() {
  const form = document.getElementById("filters");
  for (const name of FILTERS) {
    const change = (event) => go(parse(location.hash), {[name]: event.target.value}, name === "q");
    const control = name === "q"
      ? h("input", {type: "search", name, placeholder: "words of names and rules", oninput: change})
      : h("select", {name, onchange: change}, h("option", {value: ""}, "all"),
        choices(name).map((value) => h("option", {value}, OUTCOME_WORDS[value] || (OUTCOMES[value] ? OUTCOMES[value][1] : value))));
    form.append(h("label", {class: name === "q" ? "wide" : ""}, name === "q" ? "text" : name, control));
  }
  form.append(h("button", {type: "button", name: "clear", onclick: () => {
    go(parse(location.hash), Object.fromEntries(FILTERS.map((name) => [name, ""])));
  }}, "Clear filters"));
  form.addEventListener("submit", (event) => event.preventDefault());
}

function syncFilters(route) {
  const form = document.getElementById("filters");
  const used = FILTERED[route.view] || [];
  form.hidden = used.length === 0;
  for (const name of FILTERS) {
    const control = form.elements.namedItem(name);
    control.parentElement.hidden = !used.includes(name);
    const value = route.query.get(name) || "";
    if (control.value !== value) control.value = value;
  }
  form.elements.namedItem("clear").hidden = !used.some((name) => route.query.get(name));
}

/** Whether every word occurs in one of the texts. */
function matching(query) {
  const words = (query || "").toLowerCase().split(/\s+/).filter(Boolean);
  return (...texts) => words.every((word) => texts.some((text) => text.toLowerCase().includes(word)));
}

/** The results that pass the filters. */
function filtered(route, results = RESULTS) {
  const f = filtersOf(route);
  const used = FILTERED[route.view];
  const set = (name) => (used.includes(name) ? f[name] : "");
  const [family, dtype, device, level, outcome] = ["family", "dtype", "device", "level", "outcome"].map(set);
  const fits = matching(f.q);
  const known = new Map();
  const named = (result) => {
    const key = result.implementation.number * RULES.length + result.rule.number;
    if (!known.has(key)) known.set(key, fits(result.implementation.label, result.rule.id));
    return known.get(key);
  };
  return results.filter((r) =>
    (!family || r.implementation.family === family) && (!dtype || r.dtype === dtype) &&
    (!device || r.device === device) && (!level || r.level === level) &&
    (!outcome || r.outcome === outcome || (outcome === "judged" && !isUnjudged(r.outcome)) ||
      (outcome === "unjudged" && isUnjudged(r.outcome))) && (!f.q || named(r)));
}
