// What the other files share: elements, the clipboard, downloads.

export const at = id => document.getElementById(id);

/** An element with properties and what is in it. Texts stay texts: nothing here ever parses markup. */
export function make(tag, about = {}, ...inside) {
  const made = Object.assign(document.createElement(tag), about);
  made.append(...inside);
  return made;
}

/** A button with a text, which does something. */
export function button(text, does, about = {}) {
  const made = make("button", { type: "button", ...about }, text);
  made.addEventListener("click", does);
  return made;
}

/** Say something to a screen reader, once. */
export function say(text) {
  at("status").textContent = text;
}

/** Put a text on the clipboard; the button says for a moment that it is there. */
export async function copy(text, pressed) {
  const put = navigator.clipboard?.writeText(text).then(() => true, () => false);
  if (!await put) { // on a page that came over plain HTTP from another machine, or that may not
    const area = make("textarea", { value: text, className: "unseen" });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  const name = pressed.textContent;
  pressed.textContent = "Copied";
  say("Copied");
  setTimeout(() => { pressed.textContent = name; }, 1500);
}

/** Give a person a file. */
export function download(name, text, type) {
  const link = make("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
