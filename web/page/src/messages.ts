import { answerOf, shown, siblings, type Conversation, type Turn } from './conversation';
import { button, node } from './dom';
import { render } from './markdown';

/** What can be done with a message. */
export interface Actions {
  ask(question: string): void;
  edit(turn: Turn, content: string): void;
  regenerate(turn: Turn): void;
  /** Looks into the reply; only the one that the engine wrote last can be looked into. */
  xray(turn: Turn): void;
  isLast(turn: Turn): boolean;
  show(turn: Turn): void;
}

const EXAMPLES = ['What is 17 + 25?', 'Hello, who are you?', 'What is a volcano?'];

/** The messages of a conversation on the page. */
export class MessageView {
  private readonly bodies = new Map<string, HTMLElement>();

  constructor(
    private readonly main: HTMLElement,
    private readonly actions: Actions,
  ) {}

  /** Shows the conversation from its beginning. */
  show(conversation: Conversation, isBusy: boolean): void {
    this.bodies.clear();
    const turns = shown(conversation);
    this.main.replaceChildren(...(turns.length ? turns.map((turn) => this.message(conversation, turn, isBusy)) : [this.welcome()]));
    this.toEnd(true);
  }

  /** Shows what has been added to a reply. */
  update(turn: Turn): void {
    const body = this.bodies.get(turn.id);
    if (!body) return;
    const wasAtEnd = this.isAtEnd();
    fill(body, turn);
    this.toEnd(wasAtEnd);
  }

  private message(conversation: Conversation, turn: Turn, isBusy: boolean): HTMLElement {
    const article = node('article', `message ${turn.role}`);
    article.setAttribute('aria-label', turn.role === 'user' ? 'You' : 'Sferic');
    if (turn.document) article.append(node('p', 'quiet', `Document: ${turn.document.name}`));
    const body = node('div', 'body');
    fill(body, turn);
    this.bodies.set(turn.id, body);
    article.append(body);
    if (!isBusy) article.append(this.row(conversation, turn, body));
    return article;
  }

  private row(conversation: Conversation, turn: Turn, body: HTMLElement): HTMLElement {
    const row = node('div', 'actions');
    const others = siblings(conversation, turn);
    const place = others.indexOf(turn);
    const [before, after] = [others[place - 1], others[place + 1]];
    if (others.length > 1) {
      const earlier = button('‹', () => before && this.actions.show(before), 'Version before');
      const later = button('›', () => after && this.actions.show(after), 'Version after');
      [earlier.disabled, later.disabled] = [!before, !after];
      row.append(earlier, node('span', 'quiet', `${place + 1}/${others.length}`), later);
    }
    if (turn.role === 'user') row.append(button('Edit', () => this.edit(turn, body, row)));
    else {
      row.append(button('Regenerate', () => this.actions.regenerate(turn)));
      if (this.actions.isLast(turn)) row.append(button('X-ray', () => this.actions.xray(turn)));
      row.append(button('Copy', () => void navigator.clipboard.writeText(answerOf(turn.content).answer), 'Copy the reply'));
    }
    return row;
  }

  private edit(turn: Turn, body: HTMLElement, row: HTMLElement): void {
    const input = document.createElement('textarea');
    input.value = turn.content;
    input.rows = 3;
    input.setAttribute('aria-label', 'Edited message');
    body.replaceChildren(input);
    const leave = () => fill(body, turn);
    const back = [...row.childNodes];
    row.replaceChildren(
      button('Send', () => this.actions.edit(turn, input.value)),
      button('Cancel', () => {
        leave();
        row.replaceChildren(...back);
      }),
    );
    input.focus();
  }

  private welcome(): HTMLElement {
    const welcome = node('div', 'welcome');
    welcome.append(node('p', '', 'A small model that reads long documents with sparse attention, on this device alone. Nothing you write leaves it.'));
    for (const question of EXAMPLES) welcome.append(button(question, () => this.actions.ask(question)));
    return welcome;
  }

  private isAtEnd(): boolean {
    return this.main.scrollHeight - this.main.scrollTop - this.main.clientHeight < 60;
  }

  private toEnd(wanted: boolean): void {
    if (wanted) this.main.scrollTop = this.main.scrollHeight;
  }
}

function fill(body: HTMLElement, turn: Turn): void {
  if (turn.role === 'user') {
    body.textContent = turn.content;
    return;
  }
  const { reasoning, answer } = answerOf(turn.content);
  const parts: Node[] = [];
  if (reasoning) {
    const details = document.createElement('details');
    details.append(node('summary', '', 'Reasoning'), node('div', '', reasoning));
    details.open = body.querySelector('details')?.open ?? false;
    parts.push(details);
  }
  parts.push(render(answer));
  if (turn.error) parts.push(node('p', 'error', turn.error));
  if (turn.finish_reason === 'length') parts.push(node('p', 'quiet', 'The reply reached its longest length.'));
  body.replaceChildren(...parts);
}
