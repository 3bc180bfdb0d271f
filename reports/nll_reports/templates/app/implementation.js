// One implementation: what it declares, the verdict, and every rule by dtype and device.

function implementationView(route) {
  const item = byLabel(route.parts[0]);
  if (!item) return missing("implementation", route.parts[0]);
  const results = filtered(route, item.results);
  const where = [...new Set(item.results.map((r) => `${r.dtype} ${r.device}`))];
  const one = new Set(where.map((w) => w.split(" ")[1])).size === 1;
  const byRule = new Map();
  for (const result of results) {
    if (!byRule.has(result.rule)) byRule.set(result.rule, {});
    byRule.get(result.rule)[`${result.dtype} ${result.device}`] = result;
  }
  // What is wrong comes first, then what is known to be.
  const gravity = (rule) => {
    const seen = Object.values(byRule.get(rule)).map((r) => r.outcome);
    return seen.some((o) => BAD.includes(o)) ? 0 : seen.includes("expected_failure") ? 1 : 2;
  };
  const rules = RULES.filter((rule) => byRule.has(rule)).sort((a, b) => gravity(a) - gravity(b));
  const grades = DATA.accuracy.rows.filter(([number]) => number === item.number);
  return [
    h("p", {class: "small muted"}, h("a", {href: address("matrix", [], filtersOf(route))}, "Matrix"), " / ", item.family),
    h("h1", {tabindex: "-1"}, item.label, " ", verdictBadge(item.verdict)),
    item.sentences.map((sentence) => h("p", {}, sentence)),
    item.complete ? null : h("p", {}, h("strong", {}, "Cut short: "), "a run ended before all rules were judged."),
    facts([
      ["accuracy", grades.length ? grades.map(([, dtype, device, units, letter]) => [grade(letter), ` ${figure(units)} units (${dtype}, ${device})  `]) : null],
      ["target", item.target], ["version", item.version], ["commit", item.subject_commit],
      ["declaration", item.declaration], ["held to", item.capabilities], ["lacks", item.lacks],
      ["promises", item.promises], ["choices", item.divergences], ["16-bit precision", item.precision],
      ["checked", [item.started_at && day(item.started_at), item.profile && `profile ${item.profile}`,
        item.spec_version && `spec ${item.spec_version}`, item.torch && `torch ${item.torch}`,
        item.machine && `on ${item.machine}`].filter(Boolean).join(", ")],
    ]),
    h("h2", {}, `${plural(rules.length, "rule")}, ${plural(results.length, "result")}`),
    rules.length ? table(`Rules of ${item.label}`,
      ["rule", "level", ...where.map((w) => (one ? w.split(" ")[0] : w)), "what"],
      rules.map((rule) => {
        const found = byRule.get(rule);
        const first = Object.values(found).find((r) => !GOOD.includes(r.outcome));
        return [h("a", {href: toRule(rule)}, rule.id), first ? first.level : Object.values(found)[0].level,
          ...where.map((w) => resultCell(found[w])), first ? briefly(first) : h("span", {class: "muted"}, rule.sentence)];
      })) : h("p", {class: "empty"}, "No result of it fits these filters."),
    legend(),
  ];
}

/** An outcome as a link to its page where it has one. */
function resultCell(result) {
  if (!result) return h("span", {class: "muted", "aria-label": "no result"}, "\u00a0");
  const shown = outcomeText(result.outcome);
  if (detailOf(result)) return h("a", {href: toFailure(result)}, shown);
  shown.title = `${result.judged} cases judged${result.error ? `, largest error ${figure(result.error, 2)} of the bound` : ""}`;
  return shown;
}

function briefly(result) {
  const detail = detailOf(result);
  const text = (detail && (detail.reason || detail.message)) || result.reason;
  return h("span", {class: "text"}, (text || "").slice(0, 240));
}

function missing(what, name) {
  return [h("h1", {tabindex: "-1"}, `No such ${what}`),
    h("p", {}, `These results have no ${what} `, h("code", {}, String(name)), ". ", h("a", {href: "#/matrix"}, "To the matrix"))];
}
