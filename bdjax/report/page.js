"use strict";
// Sorts tables by a click on a column's head, and filters their rows. Without
// scripts every row is there, in the order of the page.
(() => {
  const text = cell => cell.textContent.trim();
  const number = cell => {
    if (!cell || cell.classList.contains("unjudged")) return NaN;
    if (cell.dataset.key) return Number(cell.dataset.key);
    return parseFloat(text(cell).replace(/(\d),(?=\d{3})/g, "$1"));
  };
  const compare = (i, way) => (a, b) => {
    const [x, y] = [a, b].map(row => number(row.cells[i]));
    if (Number.isNaN(x) && Number.isNaN(y))
      return way * text(a.cells[i]).localeCompare(text(b.cells[i]));
    if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
    return way * (x - y);
  };
  const sortable = (table, body, rows) => {
    const heads = [...table.tHead.rows].at(-1).cells;
    [...heads].forEach((head, i) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.replaceChildren(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        for (const other of heads) other.setAttribute("aria-sort", "none");
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        body.append(...rows.sort(compare(i, up ? 1 : -1)));
      });
    });
  };
  const filtered = (table, rows) => {
    const label = document.createElement("label");
    const box = document.createElement("input");
    const count = document.createElement("span");
    label.className = "filter";
    box.type = "search";
    count.setAttribute("role", "status");
    label.append("Rows with ", box, count);
    table.closest(".wide").before(label);
    box.addEventListener("input", () => {
      const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const row of rows) {
        const all = row.dataset.words ?? text(row).toLowerCase();
        row.hidden = !words.every(word => all.includes(word));
      }
      const shown = rows.filter(row => !row.hidden).length;
      count.textContent = words.length ? ` ${shown} of ${rows.length}` : "";
    });
  };
  for (const table of document.querySelectorAll("table.grid, table.all")) {
    const body = table.tBodies[0], rows = [...body?.rows ?? []];
    if (rows.length < 2 || !table.tHead) continue;
    sortable(table, body, rows);
    if (rows.length > 3) filtered(table, rows);
  }
  addEventListener("beforeprint", () => {
    for (const fold of document.querySelectorAll("details.print")) fold.open = true;
  });
})();
