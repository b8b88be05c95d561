(() => {
  "use strict";
  const table = document.querySelector("table.runs"), body = table.tBodies[0], rows = [...body.rows];
  const heads = [...table.tHead.rows[0].cells], said = document.getElementById("shown");
  const box = document.getElementById("filter");

  const value = (row, column) => {
    const cell = row.cells[column], number = cell.dataset.value;
    return number === undefined ? cell.textContent.trim() : Number(number);
  };
  const ordered = (a, b) => typeof a === "number" && typeof b === "number"
    ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true });
  const sort = (column) => {
    const head = heads[column], numeric = rows.some((row) => row.cells[column].dataset.value !== undefined);
    const before = head.getAttribute("aria-sort"), first = numeric ? "descending" : "ascending";
    const other = first === "descending" ? "ascending" : "descending";
    const now = before === first ? other : first, sign = now === "ascending" ? 1 : -1;
    heads.forEach((each) => each.setAttribute("aria-sort", each === head ? now : "none"));
    rows.sort((a, b) => {
      const left = value(a, column), right = value(b, column);
      if (left === "" || right === "") return (left === "") - (right === "");  // what is missing comes last
      return sign * ordered(left, right);
    });
    body.append(...rows);
  };
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(column));
    head.append(button);
    head.setAttribute("aria-sort", "none");
  });

  const show = (run, shown) => {
    document.querySelectorAll(`[data-run="${run}"]`).forEach((each) => { each.hidden = !shown; });
    document.querySelectorAll(`[id$="-run-${run}"]`).forEach((each) => { each.style.display = shown ? "" : "none"; });
  };
  const filter = () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    rows.forEach((row) => {
      const text = row.textContent.toLowerCase(), shown = words.every((word) => text.includes(word));
      count += shown;
      show(row.dataset.run, shown);
    });
    said.textContent = `${count} of ${rows.length} runs shown`;
  };
  box.addEventListener("input", filter);
  box.form.addEventListener("submit", (event) => event.preventDefault());
  box.form.hidden = false;
  filter();
})();
