// The few ways in which we touch the document. Text goes in as text only: nothing here or elsewhere parses HTML.

/** @param {string} id @returns {HTMLElement} */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no #${id}`);
  return element;
}

/**
 * @param {string} tag
 * @param {{class?: string, text?: string, title?: string}} [about]
 * @param {Node[]} children
 * @returns {HTMLElement}
 */
export function make(tag, about = {}, ...children) {
  const element = document.createElement(tag);
  if (about.class) element.className = about.class;
  if (about.text !== undefined) element.textContent = about.text;
  if (about.title) element.title = about.title;
  element.append(...children);
  return element;
}

/** @param {string} tag @param {Record<string, string | number>} attributes @param {Node[]} children @returns {SVGElement} */
export function svg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

/** A text in a picture. @param {number} x @param {number} y @param {string} text @param {string} name its class @param {string} anchor */
export function label(x, y, text, name, anchor) {
  const made = svg("text", { x, y, class: name, "text-anchor": anchor });
  made.textContent = text;
  return made;
}

/** Only web addresses become links: a headline may come from anywhere. @param {string} text @param {string} url @returns {HTMLElement} */
export function linked(text, url) {
  if (!/^https?:\/\//i.test(url)) return make("span", { class: "text", text });
  const link = make("a", { class: "text", text });
  link.setAttribute("href", url);
  link.setAttribute("rel", "noopener noreferrer");
  link.setAttribute("target", "_blank");
  return link;
}

/** Set the text and the class only where they differ, so that a quiet page causes no layout. @param {Element} element @param {string} text @param {string} [name] */
export function say(element, text, name) {
  if (element.textContent !== text) element.textContent = text;
  if (name !== undefined && element.getAttribute("class") !== name) element.setAttribute("class", name);
}

/** @param {string} name a CSS variable @returns {string} its colour in the present theme, as rgb() */
export function colour(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const resolved = getComputedStyle(probe).color;
  probe.remove();
  return resolved;
}
