import type { FinishReason, Message, Usage } from 'sferic';

/** A message and where it stands: replies and edits of one message stand side by side. */
export interface Turn {
  id: string;
  parent: string | null;
  role: 'user' | 'assistant';
  content: string;
  /** A text that the question is about. */
  document?: { name: string; text: string };
  finish_reason?: FinishReason;
  usage?: Usage;
  error?: string;
}

export interface Conversation {
  id: string;
  created: number;
  changed: number;
  turns: Record<string, Turn>;
  /** The branch that is shown: its last message. */
  leaf: string | null;
}

export function emptyConversation(): Conversation {
  const now = Date.now();
  return { id: crypto.randomUUID(), created: now, changed: now, turns: {}, leaf: null };
}

/** Appends a message behind `parent` and shows its branch. */
export function append(conversation: Conversation, parent: string | null, turn: Omit<Turn, 'id' | 'parent'>): Turn {
  const added: Turn = { ...turn, id: crypto.randomUUID(), parent };
  conversation.turns[added.id] = added;
  conversation.leaf = added.id;
  conversation.changed = Date.now();
  return added;
}

/** The messages of the branch that is shown, from the first to the last. */
export function shown(conversation: Conversation): Turn[] {
  const turns: Turn[] = [];
  for (let id = conversation.leaf; id !== null; ) {
    const turn = conversation.turns[id];
    if (!turn) break;
    turns.unshift(turn);
    id = turn.parent;
  }
  return turns;
}

/** The messages that stand in one place, in the order in which they were written. */
export function siblings(conversation: Conversation, turn: Turn): Turn[] {
  return Object.values(conversation.turns).filter((other) => other.parent === turn.parent);
}

/** Shows the branch of a message: of the branches behind it the newest. */
export function show(conversation: Conversation, turn: Turn): void {
  let leaf = turn;
  for (let next: Turn | undefined = turn; next; next = children(conversation, leaf).at(-1)) leaf = next;
  conversation.leaf = leaf.id;
}

function children(conversation: Conversation, turn: Turn): Turn[] {
  return Object.values(conversation.turns).filter((other) => other.parent === turn.id);
}

/** What the model reads. Reasoning of earlier turns is left out. */
export function messages(turns: Turn[], system: string): Message[] {
  const said = turns.map(({ role, content, document }): Message => {
    if (role === 'assistant') return { role, content: answerOf(content).answer };
    return { role, content: document ? `<document>\n${document.text.replace(/^[\r\n]+|[\r\n]+$/g, '')}\n</document>\n\n${content}` : content };
  });
  return system.trim() ? [{ role: 'system', content: system.trim() }, ...said] : said;
}

/** Splits a reply into reasoning and answer. */
export function answerOf(content: string): { reasoning: string; answer: string } {
  const [before, ...rest] = content.split('</think>');
  const reasoning = (before ?? '').split('<think>').at(-1) ?? '';
  if (rest.length) return { reasoning: reasoning.trim(), answer: rest.join('</think>').trimStart() };
  return content.trimStart().startsWith('<think>') ? { reasoning: reasoning.trim(), answer: '' } : { reasoning: '', answer: content };
}

export function title(conversation: Conversation): string {
  const first = Object.values(conversation.turns).find((turn) => turn.role === 'user');
  return first ? first.content.slice(0, 80) : 'New conversation';
}

export function matches(conversation: Conversation, words: string): boolean {
  const wanted = words.toLowerCase();
  return Object.values(conversation.turns).some((turn) => turn.content.toLowerCase().includes(wanted));
}

export function asMarkdown(conversation: Conversation): string {
  const parts = shown(conversation).map(({ role, content, document }) => {
    const attached = document ? `> Document: ${document.name}\n\n` : '';
    return `**${role === 'user' ? 'You' : 'Sferic'}**\n\n${attached}${answerOf(content).answer}\n`;
  });
  return `# ${title(conversation)}\n\n${parts.join('\n')}`;
}

/** Reads an exported conversation. */
export function parseConversation(text: string): Conversation {
  const expected = 'expected a conversation that this page has exported';
  let value: Partial<Conversation>;
  try {
    value = JSON.parse(text) as Partial<Conversation>;
  } catch {
    throw new Error(`The file is no JSON: ${expected}.`);
  }
  const turns = Object.values(value.turns ?? {});
  const isTurn = ({ id, role, content }: Turn) => typeof id === 'string' && typeof content === 'string' && (role === 'user' || role === 'assistant');
  const isKnown = (id: string | null) => id === null || value.turns?.[id] !== undefined;
  if (!value.turns || value.leaf === undefined || !turns.every(isTurn) || ![value.leaf, ...turns.map((turn) => turn.parent)].every(isKnown)) {
    throw new Error(`The file holds other data: ${expected}.`);
  }
  return { ...emptyConversation(), created: value.created ?? Date.now(), turns: value.turns, leaf: value.leaf };
}
