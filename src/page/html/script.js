"use strict";
// The page is whole without this: what follows finds files in the tree, walks it with the arrow keys, and opens what is
// printed or linked to.
(() => {
  const find = (tools) => {
    const tree = tools.nextElementSibling;
    const entries = [...tree.querySelectorAll("li")];
    if (entries.length < 12) return;
    const field = Object.assign(document.createElement("input"), { type: "search", placeholder: "Find a file" });
    field.setAttribute("aria-label", "Find a file in the tree");
    const told = document.createElement("output");
    told.className = "quiet";
    const open = new Map();
    // Entries come in the order of the document: what an entry is in has its path already.
    const paths = new Map();
    for (const entry of entries) {
      const name = entry.querySelector(":scope > .leaf > .name, :scope > details > summary > .name");
      if (name) paths.set(entry, (paths.get(entry.parentElement.closest("li")) ?? "") + name.textContent.toLowerCase());
    }
    const look = () => {
      const wanted = field.value.trim().toLowerCase();
      if (!wanted) {
        for (const entry of entries) entry.hidden = false;
        for (const [details, was] of open) details.open = was;
        open.clear();
        told.textContent = "";
        return;
      }
      let found = 0;
      const shown = new Set();
      for (const [entry, path] of paths) {
        // What is below a directory that was found is not found by its name again.
        const at = path.lastIndexOf(wanted);
        if (at < 0 || at + wanted.length <= path.replace(/\/$/, "").lastIndexOf("/") + 1) continue;
        found += 1;
        for (let up = entry; up && up !== tree; up = up.parentElement.closest("li")) {
          if (shown.has(up)) break;
          shown.add(up);
        }
        for (const below of entry.querySelectorAll("li")) shown.add(below);
      }
      for (const entry of entries) {
        entry.hidden = !shown.has(entry);
        const details = entry.querySelector(":scope > details");
        if (!details) continue;
        if (!open.has(details)) open.set(details, details.open);
        details.open = shown.has(entry) && details.querySelector(":scope > ul > li:not([hidden])") !== null || open.get(details);
      }
      for (const entry of shown) {
        const above = entry.parentElement.closest("details");
        if (above) above.open = true;
      }
      told.textContent = found === 1 ? "1 found" : found + " found";
    };
    field.addEventListener("input", look);
    field.addEventListener("keydown", (event) => {
      if (event.key === "Escape") { field.value = ""; look(); }
    });
    tools.prepend(field, told);
  };

  const walk = (tree) => {
    const stops = () => [...tree.querySelectorAll("summary, a")].filter((stop) => stop.checkVisibility());
    tree.addEventListener("keydown", (event) => {
      const here = event.target;
      const details = here.tagName === "SUMMARY" ? here.parentElement : null;
      let next = null;
      if (event.key === "ArrowDown" || event.key === "ArrowUp") {
        const all = stops();
        next = all[all.indexOf(here) + (event.key === "ArrowDown" ? 1 : -1)];
      } else if (event.key === "ArrowRight" && details) {
        if (details.open) next = stops()[stops().indexOf(here) + 1]; else details.open = true;
      } else if (event.key === "ArrowLeft") {
        if (details && details.open) details.open = false;
        else next = here.closest("ul").parentElement.querySelector(":scope > summary");
      } else if (event.key === "Home" || event.key === "End") {
        next = stops().at(event.key === "Home" ? 0 : -1);
      } else return;
      event.preventDefault();
      if (next) next.focus();
    });
  };

  const follow = () => {
    let target = null;
    try { target = document.getElementById(decodeURIComponent(location.hash.slice(1))); } catch { return; }
    if (!target) return;
    for (let up = target; up; up = up.parentElement) if (up.tagName === "DETAILS") up.open = true;
    target.scrollIntoView();
    const summary = target.querySelector(":scope > summary");
    if (summary) summary.focus({ preventScroll: true });
  };

  for (const tools of document.querySelectorAll(".tree-tools")) find(tools);
  for (const tree of document.querySelectorAll(".tree")) walk(tree);
  addEventListener("hashchange", follow);
  follow();
  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll(".difference, .run")) details.open = true;
  });
})();
