// The matrix: cross-hair with the figures behind a cell, and arrow keys.

const view = document.getElementById("view");
const tip = document.createElement("div");
tip.className = "tip";
tip.setAttribute("role", "status");
tip.hidden = true;
document.body.append(tip);

let marked = [];

function clear() {
  for (const cell of marked) cell.classList.remove("x", "xr", "xc");
  marked = [];
  tip.hidden = true;
}

function mark(cell, name) {
  cell.classList.add(name);
  marked.push(cell);
}

function headers(td) {
  const column = [...td.closest("table").tHead.rows].at(-1).cells[td.cellIndex];
  return { row: td.parentElement.cells[0], column };
}

function line(parent, name, text) {
  const p = document.createElement("p");
  p.className = name;
  p.textContent = text;
  parent.append(p);
}

function point(td) {
  clear();
  const { row, column } = headers(td);
  for (const body of td.closest("table").tBodies)
    for (const other of body.rows) mark(other.cells[td.cellIndex], "xc");
  for (const other of td.parentElement.cells) mark(other, "xr");
  mark(row, "x");
  mark(column, "x");

  const link = td.firstElementChild;
  const name = (th) => th.querySelector("span").firstChild.textContent.trim();
  // The title becomes the tip; left in place, the browser would show it a second time.
  if (link.title) {
    link.dataset.said = link.title;
    link.setAttribute("aria-label", `${name(row)} to ${name(column)}: ${link.title}`);
    link.removeAttribute("title");
  }
  const code = (th) => th.querySelector("code").textContent;
  tip.replaceChildren();
  line(tip, "pair", `${name(row)} → ${name(column)}`);
  line(tip, "codes", `${code(row)} → ${code(column)}`);
  const [figure, ...rest] = link.dataset.said.split(" · ");
  line(tip, "figure", figure);
  for (const part of rest) line(tip, "part", part);
  if (td.classList.contains("stale")) line(tip, "warn", "stale: no new sample for too long");
  tip.hidden = false;
  const at = td.getBoundingClientRect();
  const right = at.right + 10 + tip.offsetWidth < innerWidth;
  const below = at.bottom + 10 + tip.offsetHeight < innerHeight;
  tip.style.left = `${Math.max(4, right ? at.right + 10 : at.left - 10 - tip.offsetWidth)}px`;
  tip.style.top = `${Math.max(4, below ? at.bottom + 10 : at.top - 10 - tip.offsetHeight)}px`;
}

const cellOf = (event) => event.target.closest?.(".matrix tbody td");

view.addEventListener("pointerover", (event) => {
  const td = cellOf(event);
  if (td) point(td);
  else clear();
});
view.addEventListener("pointerleave", clear);
view.addEventListener("focusin", (event) => {
  const td = cellOf(event);
  if (td && event.target.matches(":focus-visible")) point(td);
});
view.addEventListener("focusout", clear);

// One stop for the Tab key in the matrix; the arrow keys move within it.
function rove() {
  const links = [...view.querySelectorAll(".matrix tbody td a")];
  const stop = links.find((link) => link.getAttribute("tabindex") === "0") ?? links[0];
  for (const link of links) link.tabIndex = link === stop ? 0 : -1;
}

// Home and End lead to the ends of the row, with Ctrl to those of the matrix.
function step(td, event) {
  const rows = [...td.closest("table").tBodies].flatMap((body) => [...body.rows]);
  const at = rows.indexOf(td.parentElement);
  const far = event.ctrlKey;
  switch (event.key) {
    case "ArrowLeft": return rows[at].cells[td.cellIndex - 1];
    case "ArrowRight": return rows[at].cells[td.cellIndex + 1];
    case "ArrowUp": return rows[at - 1]?.cells[td.cellIndex];
    case "ArrowDown": return rows[at + 1]?.cells[td.cellIndex];
    case "Home": return rows[far ? 0 : at].cells[1];
    case "End": return [...rows.at(far ? -1 : at).cells].at(-1);
  }
  return null;
}

view.addEventListener("keydown", (event) => {
  if (event.key === "Escape") return clear();
  const td = cellOf(event);
  const arrow = event.key.startsWith("Arrow");
  if (!td || event.altKey || event.metaKey || (arrow && event.ctrlKey)) return;
  const next = step(td, event);
  if (next?.tagName !== "TD") return;
  event.preventDefault();
  td.firstElementChild.tabIndex = -1;
  next.firstElementChild.tabIndex = 0;
  next.firstElementChild.focus();
  point(next);
});
rove();

// What is pointed at stays so while the figures under it are renewed.
let pointed = null;
document.addEventListener("showing", () => {
  pointed = tip.hidden ? null : marked.find((cell) => cell.matches("td:hover, td:focus-within"));
  clear();
});
document.addEventListener("shown", () => {
  rove();
  if (pointed?.isConnected) point(pointed);
});
