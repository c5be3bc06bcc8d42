// Where conversations are kept. A store has `list(words)`, newest first, those that hold the words; `read(id)`,
// `write(conversation)`, `remove(id)`; `body(conversation, messages, known, system)`, what is sent for an answer;
// `restored(conversation, before)`, the messages after one that failed; `exported()`, all as JSON lines; and `where` it
// is. A conversation is `{ id, title, created, updated, messages }`; a message has `role` and `content`, an answer also
// what it was drawn with (`params`), how it ended (`finish`), and what belongs to it.

// What is said where another window has gone on with a conversation, or deleted it.
export const elsewhere = () => new Error("this conversation went on elsewhere, as it is shown now");
export const deleted = () => new Error("this conversation was deleted elsewhere: begin a new one");

/** In this browser: IndexedDB, or, where a browser has none to give, for as long as the page is open. */
export class BrowserStore {
  where = "in this browser";

  constructor() {
    this.kept = new Map();
    this.seen = new Set(); // what this window has met: if it is no longer there, it was deleted
    this.opened = new Promise(done => {
      const asked = indexedDB.open("gristmill", 1);
      asked.onupgradeneeded = () => asked.result.createObjectStore("conversations", { keyPath: "id" });
      asked.onsuccess = () => done(asked.result);
      asked.onerror = () => done(null);
    }).catch(() => null);
  }

  async ask(mode, work) {
    const database = await this.opened;
    if (!database) return work(null);
    return new Promise((done, fail) => {
      const asked = work(database.transaction("conversations", mode).objectStore("conversations"));
      asked.onsuccess = () => done(asked.result);
      asked.onerror = () => fail(asked.error);
    });
  }

  async list(words = "") {
    const all = await this.ask("readonly", store => store?.getAll() ?? [...this.kept.values()]);
    for (const { id } of all) this.seen.add(id);
    const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
    const held = one => [one.title, ...one.messages.map(message => message.content)].join("\n").toLowerCase();
    const holds = text => wanted.every(word => text.includes(word));
    const found = wanted.length ? all.filter(one => holds(held(one))) : all;
    return found.sort((one, other) => other.updated - one.updated);
  }

  async read(id) {
    const found = await this.find(id);
    if (!found && this.seen.has(id)) throw deleted();
    return found;
  }

  find(id) {
    return this.ask("readonly", store => store ? store.get(id) : this.kept.get(id));
  }

  async write(conversation) {
    const { id } = conversation;
    if (this.seen.has(id) && !await this.find(id)) return; // what was deleted does not come back
    this.seen.add(id);
    await this.ask("readwrite", store => store ? store.put(conversation) : this.kept.set(id, { ...conversation }));
  }

  remove(id) {
    return this.ask("readwrite", store => store?.delete(id) ?? this.kept.delete(id));
  }

  /** Throws an Error where another window deleted the conversation or went on with it; that has its `messages` now. */
  async body({ id }, messages, known, system) {
    const now = (await this.read(id))?.messages ?? [];
    const same = (one, place) => one.role === known[place]?.role && one.content === known[place].content;
    if (!now.every(same)) throw Object.assign(elsewhere(), { messages: now });
    return { messages: plain(messages, system) };
  }

  async restored(_, before) {
    return before;
  }

  async exported() {
    return asJsonLines(await this.list());
  }
}

/** A conversation that nobody has begun yet. */
export function fresh() {
  const now = Date.now(), bytes = [...crypto.getRandomValues(new Uint8Array(12))];
  const id = bytes.map(byte => byte.toString(16).padStart(2, "0")).join("");
  return { id, title: "", created: now, updated: now, messages: [] };
}

/** The messages as the API takes them. */
export function plain(messages, system = "") {
  const first = system ? [{ role: "system", content: system }] : [];
  return [...first, ...messages.map(({ role, content }) => ({ role, content }))];
}

/** A conversation a line, in OpenAI's layout: what `gristmill sft` reads. */
export function asJsonLines(conversations) {
  const system = one => one.messages.findLast(message => message.params)?.params.system;
  return conversations.map(one => JSON.stringify({ messages: plain(one.messages, system(one)) }) + "\n").join("");
}

/** Conversations to be read. */
export function asMarkdown(conversations) {
  const turn = ({ role, content }) => `**${role === "user" ? "You" : "Assistant"}:** ${content}\n`;
  return conversations.map(one => [`# ${one.title}\n`, ...one.messages.map(turn)].join("\n")).join("\n");
}
