// The words of the page, as its template wrote them: data-say-no-undo becomes noUndo.
export function wordsOf(template) {
  const name = (key) => key[3].toLowerCase() + key.slice(4);
  return Object.fromEntries(Object.entries(template.dataset).flatMap(([key, text]) => (key.startsWith("say") ? [[name(key), text]] : [])));
}

// The number beside this page's entry in the rail.
export function countInRail(n) {
  const count = document.querySelector(".rail-item[aria-current] > .n");
  if (count) count.textContent = n > 0 ? String(n) : "";
}

export function fill(template, values) {
  return template.replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

// A link to the sign-in page that comes back to where one is.
export function signInLink(text) {
  const link = document.createElement("a");
  link.href = `/login/?next=${encodeURIComponent(location.pathname + location.search)}`;
  link.textContent = text;
  return link;
}
