// Accuracy: the same inputs for everybody, one number each, a letter for it.

function grade(letter) {
  return h("span", {class: `letter ${{A: "o-pass", B: "o-pass", C: "o-expected_failure", D: "o-fail"}[letter] || ""}`}, letter);
}

function accuracyRows(route) {
  const f = filtersOf(route);
  const fits = matching(f.q);
  return DATA.accuracy.rows.map(([number, dtype, device, units, letter]) =>
    ({item: IMPLEMENTATIONS[number], dtype, device, units, letter}))
    .filter((row) => (!f.family || row.item.family === f.family) && (!f.dtype || row.dtype === f.dtype) &&
      (!f.device || row.device === f.device) && fits(row.item.label));
}

function accuracyView(route) {
  const rows = accuracyRows(route);
  const letters = DATA.accuracy.letters;
  const heading = [h("h1", {tabindex: "-1"}, "How accurate"),
    h("p", {}, "The largest error of losses and gradients on a fixed set of inputs, in condition units: |got − exact| / (u · condition), u the unit roundoff of the dtype. ",
      letters.map(([letter, most]) => [grade(letter), ` at most ${most}  `]), grade("D"), " more, but within the bound that any order of summation keeps.")];
  if (!rows.length) {
    return [...heading, h("p", {class: "empty"}, DATA.accuracy.rows.length ? "No implementation fits these filters."
      : "No accuracy was measured: the results hold no error of the rule values.accuracy_set.")];
  }
  const families = [...new Set(rows.map((row) => row.item.family))];
  const worst = (item) => Math.max(...rows.filter((row) => row.item === item).map((row) => number(row.units)));
  const items = [...new Set(rows.map((row) => row.item))].sort((a, b) => worst(a) - worst(b) || a.label.localeCompare(b.label));
  const where = [...new Set(rows.map((row) => `${row.dtype} ${row.device}`))];
  return [...heading, families.map((family) => {
    const mine = items.filter((item) => item.family === family);
    const values = rows.filter((row) => row.item.family === family)
      .map((row) => ({name: row.item.label, dtype: `${row.dtype} ${row.device}`, units: Math.max(number(row.units), 0.01), letter: row.letter, shown: `${figure(row.units)} units`}));
    return [h("h2", {}, family), h("div", {class: "pair"}, table(`Accuracy of ${family}`, ["implementation", ...where.map((w) => [w, "num"])],
      mine.map((item) => [h("a", {href: toImplementation(item)}, item.label), ...where.map((w) => {
        const row = rows.find((r) => r.item === item && `${r.dtype} ${r.device}` === w);
        return row ? [`${figure(row.units)} `, grade(row.letter)] : h("span", {class: "muted", title: "not measured"}, "not measured");
      })])),
    mine.length > 1 && values.length > 1 ? accuracyChart(family, values, mine, where) : null)];
  })];
}

const number = (value) => (typeof value === "string" ? Infinity : value);

function accuracyChart(family, values, items, where) {
  const finite = values.filter((value) => Number.isFinite(value.units));
  return chart(`Error in condition units, ${family}`, "Each mark is the largest error of one dtype; further left is better. Lines: the limits of A, B and C.", {
    height: Math.max(60, 22 * items.length),
    layer: [
      {data: {values: DATA.accuracy.letters.map(([letter, most]) => ({letter, most}))},
        mark: {type: "rule", strokeDash: [4, 4]}, encoding: {x: {field: "most", type: "quantitative"}}},
      {data: {values: finite}, mark: {type: "point", filled: true, size: 80, opacity: 0.9}, encoding: {
        x: {field: "units", type: "quantitative", scale: {type: "log"}, title: "condition units (logarithmic)"},
        y: {field: "name", type: "nominal", sort: items.map((item) => item.label), title: null, axis: {labelLimit: innerWidth < 640 ? 120 : 260}},
        color: {field: "dtype", type: "nominal", scale: {domain: where}}, shape: {field: "dtype", type: "nominal", scale: {domain: where}},
        tooltip: [{field: "name", title: "implementation"}, {field: "dtype"}, {field: "shown", title: "error"}, {field: "letter"}]}},
    ],
  });
}
