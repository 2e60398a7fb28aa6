"use strict";
const form = document.querySelector(".suspects"), told = form.querySelector("output");
const classes = new Set([...form.querySelectorAll("#classes option")].map((option) => option.value));
let unsaved = false;

// One row for each picture that something was chosen for.
const rows = () => [...form.querySelectorAll("fieldset")].flatMap((each) => {
  const choice = each.querySelector(":checked");
  return choice ? [[each.dataset.path, choice.value, each.querySelector("[list]").value]] : [];
});

form.addEventListener("input", ({target}) => {
  const each = target.closest("fieldset"), change = each.querySelector("[value=change]"), name = each.querySelector("[list]");
  if (target === name) change.checked = true;
  name.setCustomValidity(change.checked && !classes.has(name.value) ? "The images have no class of this name." : "");
  told.value = ["keep", "change", "drop"]
    .map((choice) => `${choice} ${rows().filter((row) => row[1] === choice).length}`).join(", ");
  unsaved = true;
});

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const lines = [["path", "choice", "class"], ...rows()]
    .map((row) => row.map((cell) => `"${cell.replaceAll('"', '""')}"`).join(",") + "\n");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(lines, {type: "text/csv"}));
  link.download = "corrections.csv";
  link.click();
  unsaved = false;
});

addEventListener("beforeunload", (event) => { if (unsaved) event.preventDefault(); });
