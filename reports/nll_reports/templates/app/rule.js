// One rule: its sentence, who says so, and how every implementation came out.

function ruleView(route) {
  const rule = RULES.find((other) => other.id === route.parts[0]);
  if (!rule) return missing("rule", route.parts[0]);
  const all = RESULTS.filter((r) => r.rule === rule);
  const results = filtered(route, all);
  const where = [...new Set(all.map((r) => `${r.dtype} ${r.device}`))];
  const shown = IMPLEMENTATIONS.filter((item) => results.some((r) => r.implementation === item));
  return [
    h("p", {class: "small muted"}, h("a", {href: address("matrix", [], {open: rule.theme})}, `Matrix / ${rule.theme}`)),
    h("h1", {tabindex: "-1"}, rule.id, " ", h("span", {class: "badge o-none"}, rule.level)),
    h("blockquote", {}, rule.sentence),
    rule.why ? h("p", {}, rule.why) : null,
    facts([["says", rule.source], ["since", rule.since && `specification ${rule.since}`]]),
    h("h2", {}, plural(shown.length, "implementation")),
    shown.length ? table(`Outcomes of ${rule.id}`, ["implementation", "family", ...where, "what"], shown.map((item) => {
      const mine = results.filter((r) => r.implementation === item);
      const first = mine.find((r) => !GOOD.includes(r.outcome));
      return [h("a", {href: toImplementation(item)}, item.label), item.family,
        ...where.map((w) => resultCell(mine.find((r) => `${r.dtype} ${r.device}` === w))), first ? briefly(first) : ""];
    })) : h("p", {class: "empty"}, "No result fits these filters."),
    code(`nll-conformance explain ${rule.id}`, "command", true),
  ];
}
