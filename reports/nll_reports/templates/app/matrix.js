// Matrix: implementations down, themes across; a theme opens to its rules.

function cellLabel(item, column, counts) {
  const parts = GRAVITY.filter((o) => counts[o]).map((o) => `${counts[o]} ${OUTCOMES[o][1]}`);
  return `${item.label}, ${column}: ${parts.join(", ") || "no results"}`;
}

/** The bar under a cell: where failed, known and passed results end; the rest was not judged. */
function shares(counts, total) {
  let sum = 0;
  return [["f", BAD], ["k", ["expected_failure"]], ["p", GOOD]].map(([name, outcomes]) => {
    for (const outcome of outcomes) sum += counts[outcome] || 0;
    return `--${name}:${Math.round((100 * sum) / total)}%`;
  }).join(";");
}

function cell(item, column, href, counts) {
  if (!counts) return h("td", {class: "o-none"}, h("span", {"aria-label": `${item.label}, ${column}: no results`}, "\u00a0"));
  const total = Object.values(counts).reduce((a, b) => a + b, 0);
  const unjudged = (counts.unsupported || 0) + (counts.inconclusive || 0) + (counts.not_run || 0);
  const judged = total - unjudged;
  const outcome = gravest(counts);
  const bad = BAD.reduce((all, o) => all + (counts[o] || 0), 0);
  const known = counts.expected_failure || 0;
  const number = judged ? (bad ? `${bad}/${judged}` : known ? `${known}/${judged}` : judged) : unjudged;
  const label = cellLabel(item, column, counts);
  return h("td", {class: `o-${outcome}`},
    h("a", {href, tabindex: "-1", "aria-label": label, class: `o-${outcome}`, style: shares(counts, total)},
      `${OUTCOMES[outcome][0]} ${number}`, judged && unjudged ? h("span", {class: "left"}, `–${unjudged}`) : null));
}

const openThemes = (route) => (route.query.get("open") || "").split(",").filter(Boolean);

function columnsOf(route, results) {
  const open = openThemes(route);
  const present = new Set(results.map((r) => r.rule));
  return THEMES.flatMap((name) => {
    const rules = RULES.filter((rule) => rule.theme === name && present.has(rule));
    if (!rules.length) return [];
    return open.includes(name)
      ? [{theme: name, open: true}, ...rules.map((rule) => ({theme: name, rule}))]
      : [{theme: name}];
  });
}

function head(route, column) {
  if (column.rule) {
    return h("th", {scope: "col", title: column.rule.sentence}, h("div", {class: "turned"},
      h("a", {href: toRule(column.rule, route)}, column.rule.id.split(".")[1])));
  }
  const open = openThemes(route);
  const next = column.open ? open.filter((name) => name !== column.theme) : [...open, column.theme];
  return h("th", {scope: "col"}, h("div", {class: "turned"}, h("button", {
    type: "button", "aria-expanded": column.open ? "true" : "false", "data-theme": column.theme,
    title: column.open ? "Close the theme" : "Open the theme to its rules",
    onclick: () => {
      go(route, {open: next.join(",")});
      document.querySelector(`[data-theme="${column.theme}"]`)?.focus();
    },
  }, `${column.open ? "▾ " : "▸ "}${column.theme}`)));
}

/** Counts by outcome for each implementation: of all, of each theme, of the rules of open ones. */
function counted(results, open) {
  const counts = new Map();
  const add = (found, key, outcome) => {
    const at = found.get(key);
    if (at === undefined) found.set(key, {[outcome]: 1});
    else at[outcome] = (at[outcome] || 0) + 1;
  };
  for (const {implementation, rule, outcome} of results) {
    let mine = counts.get(implementation);
    if (mine === undefined) counts.set(implementation, mine = new Map());
    add(mine, "", outcome);
    add(mine, rule.theme, outcome);
    if (open.includes(rule.theme)) add(mine, rule.id, outcome);
  }
  return counts;
}

function matrixView(route) {
  const results = filtered(route);
  const counts = counted(results, openThemes(route));
  const columns = columnsOf(route, results);
  const shown = IMPLEMENTATIONS.filter((item) => counts.has(item));
  const families = [...new Set(shown.map((item) => item.family))];
  const heading = [h("h1", {tabindex: "-1"}, "What conforms"), overview(route, shown, results)];
  if (!RESULTS.length) return [...heading, h("p", {class: "empty"}, "No conformance results were given to this site.")];
  if (!shown.length) return [...heading, h("p", {class: "empty"}, "No result fits these filters.")];
  const body = families.map((family) => h("tbody", {},
    h("tr", {class: "group"}, h("th", {colspan: columns.length + 2, scope: "rowgroup"}, h("span", {}, family))),
    shown.filter((item) => item.family === family).map((item) => h("tr", {},
      h("th", {scope: "row"}, h("a", {href: toImplementation(item, route), title: `${item.label}: ${item.verdict}`},
        h("span", {class: `mark o-${VERDICTS[item.verdict][1]}`, "aria-hidden": "true"}, VERDICTS[item.verdict][0]), " ",
        item.label, h("span", {class: "hidden"}, `, ${item.verdict}`))),
      cell(item, "all", toImplementation(item, route), counts.get(item).get("")),
      columns.map((column) => {
        const key = column.rule ? column.rule.id : column.theme;
        return cell(item, key, cellAddress(route, item, column), counts.get(item).get(key));
      })))));
  const grid = h("table", {class: "matrix"},
    h("caption", {class: "hidden"}, "Outcomes by implementation and theme. Arrow keys move between cells."),
    h("thead", {}, h("tr", {}, h("th", {scope: "col"}, "implementation"),
      h("th", {scope: "col"}, h("div", {class: "turned"}, "all themes")), columns.map((column) => head(route, column)))), body);
  grid.addEventListener("keydown", moveBetweenCells);
  return [...heading,
    h("div", {class: "scroll tall", tabindex: "0", role: "region", "aria-label": "Matrix of implementations and themes"}, grid),
    legend()];
}

/** One rule and one result: straight to it. Otherwise the rules of the theme. */
function cellAddress(route, item, column) {
  if (column.rule) return address("rule", [column.rule.id], {...filtersOf(route), q: item.label});
  return address("implementation", [item.label], {...filtersOf(route), q: `${column.theme}.`});
}

function overview(route, shown, results) {
  const verdicts = tallyBy(shown, (item) => item.verdict);
  const counts = tally(results);
  const sum = (outcomes) => outcomes.reduce((all, o) => all + (counts[o] || 0), 0);
  const link = (outcome, text) => h("a", {href: address("matrix", [], {...filtersOf(route), outcome})}, text);
  return h("p", {class: "wide"},
    Object.entries(verdicts).map(([verdict, number]) => [`${number} `, verdictBadge(verdict), " \u00a0 "]),
    h("span", {class: "muted"}, ` ${plural(results.length, "result")}, one for each rule, dtype and device: `,
      `${count(sum(GOOD))} pass, `, link("fail", `${count(sum(BAD))} fail`), ", ",
      link("expected_failure", `${count(counts.expected_failure || 0)} known`), ", ",
      link("unjudged", `${count(sum(["unsupported", "inconclusive", "not_run"]))} not judged`), "."));
}

function tallyBy(items, key) {
  const counts = {};
  for (const item of items) counts[key(item)] = (counts[key(item)] || 0) + 1;
  return counts;
}

function legend() {
  return h("ul", {class: "legend", "aria-label": "Legend"},
    Object.keys(OUTCOMES).map((outcome) => h("li", {}, outcomeText(outcome))),
    h("li", {}, "✕ 2/40: 2 of 40 judged results fail; –8: 8 more were not judged (grey in the bar)"));
}

/** The matrix is one stop of the tab key per row; arrows reach the cells. */
function moveBetweenCells(event) {
  const step = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0]}[event.key];
  const here = event.target.closest("th, td");
  if (!step || !here || !here.closest("tbody")) return;
  const rows = [...event.currentTarget.querySelectorAll("tbody tr:not(.group)")];
  const row = rows.indexOf(here.parentElement) + step[0];
  const target = rows[row]?.children[here.cellIndex + step[1]]?.querySelector("a");
  if (!target) return;
  event.preventDefault();
  target.focus();
}
