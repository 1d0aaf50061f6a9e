"use strict";
// Cells name their column, so that a narrow screen can set each row as a card.
for (const table of document.querySelectorAll("table")) {
  const names = [...table.querySelectorAll("thead th")].map((cell) => cell.firstChild ? cell.firstChild.textContent.trim() : "");
  for (const row of table.querySelectorAll("tbody tr")) {
    [...row.children].forEach((cell, place) => cell.setAttribute("data-label", names[place] || ""));
  }
}
// What scrolls sideways can be scrolled by keyboard.
const mark = () => {
  for (const region of document.querySelectorAll(".scroll")) {
    region.tabIndex = region.scrollWidth > region.clientWidth ? 0 : -1;
  }
};
addEventListener("resize", mark);
addEventListener("toggle", mark, true);
// The search shows the users whose text has every word.
const search = document.getElementById("search");
if (search) {
  const users = [...document.querySelectorAll("details.user")];
  const texts = users.map((user) => user.textContent.toLowerCase());
  const found = document.getElementById("matches");
  const further = document.getElementById("further");
  const show = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter((word) => word);
    let n = 0;
    users.forEach((user, place) => {
      user.hidden = !words.every((word) => texts[place].includes(word));
      n += user.hidden ? 0 : 1;
    });
    if (further && words.length) {
      further.open = true;
    }
    found.textContent = found.dataset.text.replace("{found}", n).replace("{all}", users.length);
  };
  search.addEventListener("input", show);
  document.getElementById("explorer").hidden = false;
  show();
}
document.documentElement.classList.add("scripted");
mark();
