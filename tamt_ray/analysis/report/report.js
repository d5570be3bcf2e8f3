"use strict";
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // Charts: drawn once they come into view, again when the theme or the width changes.
  const fit = (spec, width) => {
    for (const part of spec.vconcat ?? []) fit(part, width);
    if (!spec.concat) return;
    const wide = Math.max(...spec.concat.map((panel) => panel.width ?? 200)) + 85;
    spec.columns = Math.max(1, Math.min(spec.columns ?? 4, Math.floor((width + 40) / wide)));
  };
  const themed = (source, width) => {
    const [ink, soft, line] = [colour("--ink"), colour("--soft"), colour("--line")];
    const spec = JSON.parse(source.replaceAll('"#1a1a1a"', JSON.stringify(ink)));
    fit(spec, width);
    const axis = { labelColor: ink, titleColor: soft, domainColor: soft, tickColor: soft, gridColor: line };
    const own = spec.config;
    spec.config = {
      ...own, background: "transparent",
      axis: { ...own.axis, ...axis },
      legend: { ...own.legend, labelColor: ink, titleColor: soft, columns: Math.max(2, Math.floor(width / 150)) },
      title: { ...own.title, color: ink, subtitleColor: soft },
    };
    return spec;
  };
  const draw = (figure) => {
    const place = figure.querySelector(".chart");
    const width = place.clientWidth;
    if (!width || place.dataset.drawn === `${width} ${dark.matches}`) return;
    place.dataset.drawn = `${width} ${dark.matches}`;
    const source = figure.querySelector("script").textContent;
    vegaEmbed(place, themed(source, width), {
      ast: true, renderer: "svg", tooltip: { theme: dark.matches ? "dark" : "light" },
      actions: { export: true, source: false, compiled: false, editor: false },
    }).catch((error) => { place.textContent = `The chart cannot be drawn: ${error.message}`; });
  };
  const figures = [...document.querySelectorAll("figure")];
  const seen = new IntersectionObserver(
    (entries) => entries.forEach((entry) => entry.isIntersecting && draw(entry.target)),
    { rootMargin: "400px" },
  );
  figures.forEach((figure) => seen.observe(figure));
  const again = () => figures.filter((f) => f.querySelector(".chart").dataset.drawn).forEach(draw);
  dark.addEventListener("change", again);
  let waiting;
  addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(again, 200); });
  addEventListener("beforeprint", () => figures.forEach(draw));

  // Tables: a click on a column sorts within its groups of rows.
  const value = (row, column) => {
    const text = row.cells[column]?.firstChild?.textContent ?? "";
    const number = parseFloat(text.replaceAll("\u2212", "-").replaceAll(",", "").replace(/^[≤≥+]\s*/, ""));
    return Number.isNaN(number) ? text : number;
  };
  const compare = (a, b) =>
    typeof a === typeof b ? (a < b ? -1 : a > b ? 1 : 0) : typeof a === "number" ? -1 : 1;
  const sort = (table, head) => {
    const column = head.cellIndex, rising = head.ariaSort === "descending";
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const body = table.tBodies[0], groups = [[]];
    for (const row of [...body.rows]) {
      if (row.classList.contains("group")) groups.push([row], []);
      else groups.at(-1).push(row);
    }
    for (const rows of groups) {
      rows.sort((a, b) => compare(value(a, column), value(b, column)) * (rising ? 1 : -1));
      body.append(...rows);
    }
  };

  // Tables as Markdown and as LaTeX.
  const parts = (cell) => [...cell.childNodes].map((n) => n.textContent.trim()).filter(Boolean).join(" ");
  const lines = (table) => [...table.rows].map((row) => [...row.cells].map(parts));
  const markdown = (table) => {
    const rows = lines(table), width = rows[0].length;
    const line = (cells) =>
      `| ${[...cells, ...Array(width - cells.length).fill("")].map((c) => c.replaceAll("|", "\\|")).join(" | ")} |`;
    const rule = `|${"---|".repeat(width)}`;
    return [line(rows[0]), rule, ...rows.slice(1).map(line)].join("\n");
  };
  const symbols = {
    "\u2212": "$-$", "±": "$\\pm$", "≤": "$\\leq$", "≥": "$\\geq$", "×": "$\\times$", "φ": "$\\varphi$",
    "ρ": "$\\rho$", "τ": "$\\tau$", "–": "--", "\\": "\\textbackslash{}", "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}", "\u00a0": "~",
  };
  const escaped = (text) =>
    text.replace(/[&%$#_{}]|[\u2212±≤≥×φρτ–\\~^\u00a0]/g, (c) => symbols[c] ?? `\\${c}`);
  const latex = (table) => {
    const rows = lines(table), width = rows[0].length;
    const line = (cells) => cells.length === 1 && width > 1
      ? `\\midrule \\multicolumn{${width}}{l}{${escaped(cells[0])}} \\\\`
      : `${cells.map(escaped).join(" & ")} \\\\`;
    return [
      `\\begin{tabular}{l${"r".repeat(width - 1)}}`, "\\toprule", line(rows[0]), "\\midrule",
      ...rows.slice(1).map(line), "\\bottomrule", "\\end{tabular}",
    ].join("\n");
  };
  const copy = async (text, button) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Without leave to use the clipboard, as in a frame: by way of a selected field.
      const field = document.body.appendChild(document.createElement("textarea"));
      field.value = text;
      field.select();
      document.execCommand("copy");
      field.remove();
    }
    const words = button.textContent;
    button.textContent = "copied";
    setTimeout(() => { button.textContent = words; }, 1200);
  };
  for (const table of document.querySelectorAll("table")) {
    for (const head of table.tHead.rows[0].cells) {
      head.title = "sort";
      head.addEventListener("click", () => sort(table, head));
    }
    const caption = table.parentElement.nextElementSibling;
    const buttons = document.createElement("span");
    buttons.className = "copy";
    for (const [name, write] of [["Markdown", markdown], ["LaTeX", latex]]) {
      const button = buttons.appendChild(document.createElement("button"));
      button.type = "button";
      button.textContent = name;
      button.title = `Copy the table as ${name}`;
      button.addEventListener("click", () => copy(write(table), button));
    }
    caption.append(" ", buttons);
  }
})();
