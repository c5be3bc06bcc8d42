// The chat page: one conversation, and the list of all.

import { deltas, request } from "./api.js";
import { at, button, make, say } from "./elements.js";
import { find } from "./passages.js";
import { prepareMemory } from "./memory.js";
import { drawn, prepare, settings } from "./settings.js";
import { ServerStore } from "./server_store.js";
import { prepareList, showList } from "./sidebar.js";
import { BrowserStore, fresh } from "./store.js";
import { answer, enters, question } from "./turns.js";

const TITLE = 60; // characters
const log = at("log"), text = at("text"), send = at("send");

export const chat = { store: new BrowserStore(), conversation: fresh(), running: null, card: { examples: [] } };

function hint() {
  const offer = one => button(one, () => { if (!chat.running) attempt([...asked(one)]); text.focus(); });
  const examples = make("div", { id: "examples" }, ...chat.card.examples.map(offer));
  const words = make("p", { className: "quiet" }, "Ask something that the model may have read.");
  return make("div", { id: "hint" }, words, examples);
}

const asked = content => [...chat.conversation.messages, { role: "user", content }];

/** Show the conversation as it is. */
export function show() {
  const { messages } = chat.conversation;
  const turns = messages.map((message, place) => {
    const before = messages.slice(0, place);
    if (message.role === "user") return question(message, content => attempt([...before, { role: "user", content }]));
    const { passages: quotes, trace: traces } = chat.card;
    const made = answer(message, before, { regenerate: () => attempt(before), quotes, traces });
    made.finished();
    return made.turn;
  });
  log.replaceChildren(...(turns.length ? turns : [hint()]));
  log.scrollTop = log.scrollHeight;
}

/** Show another conversation, or a new one. What is being answered is stopped and kept. */
export function open(conversation = fresh()) {
  chat.running?.abort();
  chat.running = null;
  chat.conversation = conversation;
  busy();
  show();
  showList();
}

function busy() {
  send.textContent = chat.running ? "Stop" : "Send";
  log.ariaBusy = String(Boolean(chat.running));
}

export function fail(error) {
  const words = "Error: " + error.message;
  if (log.lastChild?.textContent === words) log.lastChild.remove();
  log.append(make("div", { className: "turn error", role: "alert" }, words));
  log.scrollTop = log.scrollHeight;
}

async function keep(conversation) {
  conversation.updated = Date.now();
  await chat.store.write(conversation).catch(fail);
  showList();
}

/** Let the conversation be these messages, the last of them the user's, and have it answered. Where that brings
 * nothing, it is again what it was, and what was `typed` is typed still. */
async function attempt(messages, typed = "") {
  await ready();
  if (chat.running) return;
  const { conversation } = chat, before = conversation.messages, mine = chat.running = new AbortController();
  const { system, ...params } = drawn(), message = { role: "assistant", content: "", params: { ...params, system } };
  const body = async () => {
    const about = await chat.store.body(conversation, messages, before, system);
    keep(conversation); // not before it is known that nobody else went on with it
    return { ...params, stream: true, ...about };
  };
  conversation.title ||= messages[0].content.slice(0, TITLE).replace(/\s+/g, " ");
  conversation.messages = messages;
  show();
  busy();
  say("The answer is coming.");
  const made = answer(message, messages, {});
  made.body.classList.add("waiting");
  log.append(made.turn);
  log.scrollTop = log.scrollHeight;
  const failure = await receive(message, made, body, mine);
  const answered = message.content || !failure;
  const restored = async () => failure.messages ?? chat.store.restored(conversation, before).catch(() => before);
  conversation.messages = answered ? [...messages, message] : await restored();
  if (chat.running === mine) {
    chat.running = null;
    busy();
    show();
    if (!answered) text.value ||= typed;
    if (failure && failure.name !== "AbortError") fail(failure);
    const again = before.length > messages.length && before[messages.length].content === message.content;
    const note = again && !params.temperature ? "The same answer: at temperature 0 it always is (Settings)." : "";
    if (note) log.lastChild.append(make("p", { className: "quiet" }, note));
    say(note || message.content || "There is no answer.");
    if (!log.contains(document.activeElement)) text.focus();
  }
  if (!conversation.messages.length) {
    await chat.store.remove(conversation.id).catch(() => {}); // which may not be there yet
    if (chat.conversation === conversation) chat.conversation = fresh();
    return showList();
  }
  if (answered && chat.card.passages && !message.memory?.asked) await quote(conversation, message);
  await keep(conversation);
}

/** Take an answer in as it comes; returns what went wrong, if anything. */
async function receive(message, made, body, mine) {
  let due = 0;
  const draw = () => {
    due = 0;
    const below = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    made.body.classList.toggle("waiting", !message.content);
    made.written();
    if (below) log.scrollTop = log.scrollHeight;
  };
  try {
    const response = await request("/v1/chat/completions", { json: await body(), signal: mine.signal });
    for await (const { content, thought, ...about } of deltas(response)) {
      message.content += content;
      if (thought) message.thought = (message.thought ?? "") + thought;
      if (about.finish) Object.assign(message, about);
      due ||= requestAnimationFrame(draw);
    }
  } catch (error) {
    message.finish = error.name === "AbortError" ? "stopped" : "broken";
    return error;
  } finally { cancelAnimationFrame(due); }
  return null;
}

async function quote(conversation, message) {
  try {
    message.passages = await find(conversation.messages);
  } catch (error) { return fail(error); }
  if (chat.conversation !== conversation) return;
  show();
  log.scrollTop = log.querySelector(".turn.assistant:last-child").offsetTop - log.offsetTop;
}

at("form").addEventListener("submit", event => {
  event.preventDefault();
  if (chat.running) return chat.running.abort();
  const content = text.value.trim();
  if (!content) return;
  text.value = "";
  attempt(asked(content), content);
});
text.addEventListener("keydown", event => {
  if (enters(event)) {
    event.preventDefault();
    if (!chat.running) at("form").requestSubmit();
  } else if (event.key === "ArrowUp" && !text.value && !chat.running) {
    const last = [...log.querySelectorAll(".turn.user .actions button:first-child")].at(-1);
    if (last) { event.preventDefault(); last.click(); }
  }
});
document.addEventListener("keydown", event => {
  if (event.key === "Escape" && !document.querySelector("dialog[open], :popover-open")) chat.running?.abort();
});
at("new").addEventListener("click", () => { open(); text.focus(); });

/** Keep conversations on the server, where that has a memory which is to be used; in this browser otherwise. */
function choose() {
  chat.store = chat.card.memory && settings.memory ? new ServerStore() : new BrowserStore();
  at("where").textContent = `kept ${chat.store.where}`;
  open();
}

let asking = null;

/** Know the server's model; where that failed (no key was given, the server was away), it is asked again. */
function ready() {
  return asking ??= request("/v1/models").then(response => response.json()).then(({ data: [card] }) => {
    chat.card = card;
    at("name").textContent = card.id;
    document.title = `${card.id} · gristmill`;
    at("drawing").hidden = Boolean(card.passages);
    if (card.memory) prepareMemory(choose);
    choose();
  }).catch(error => { asking = null; fail(error); });
}

prepare();
prepareList();
show();
ready();
