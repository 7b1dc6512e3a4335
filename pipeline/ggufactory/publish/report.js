"use strict";
// Sorts a table by the column whose heading is pressed; pressed again, the other way round. Rows of equal values keep
// their order, and those without a value come last both ways.
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  const valueOf = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent;
  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => {
      const upwards = heading.getAttribute("aria-sort") !== "ascending";
      const numeric = heading.classList.contains("number");
      const sign = upwards ? 1 : -1;
      const rows = [...body.rows];
      rows.sort((a, b) => {
        const left = valueOf(a, column), right = valueOf(b, column);
        if (left === "" || right === "") return (left === "") - (right === "");
        return sign * (numeric ? Number(left) - Number(right) : left.localeCompare(right, "en", { numeric: true }));
      });
      body.append(...rows);
      for (const other of headings) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", upwards ? "ascending" : "descending");
    });
  });
}
