import type { ChatRequest } from 'sferic';
import { element } from './dom';

const KEY = 'sferic-settings';
/** The fields of the settings and of a request that they stand for. */
const NUMBERS = { temperature: 'temperature', 'top-p': 'top_p', 'max-tokens': 'max_tokens' } as const;

/** What the visitor has chosen; it stays in this browser. */
export class Settings {
  /** `onLoad` is called when the model has to be loaded anew. */
  constructor(onLoad: () => void) {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? '{}') as Record<string, string | boolean>;
    for (const field of fields()) {
      const value = kept[field.id];
      if (field instanceof HTMLInputElement && field.type === 'checkbox') field.checked = value === true;
      else if (typeof value === 'string') field.value = value;
      field.addEventListener('change', () => {
        this.keep();
        if (field.id === 'device-choice' || field.id === 'context-length') onLoad();
      });
    }
  }

  get system(): string {
    return element<HTMLTextAreaElement>('system').value;
  }

  get device(): 'auto' | 'gpu' | 'cpu' {
    return element<HTMLSelectElement>('device-choice').value as 'auto' | 'gpu' | 'cpu';
  }

  /** Tokens of context to make room for; the model's own where the field is empty. */
  get context(): number | undefined {
    const { valueAsNumber } = element<HTMLInputElement>('context-length');
    return Number.isFinite(valueAsNumber) ? valueAsNumber : undefined;
  }

  /** What a request says of them; an empty field leaves it to the model. */
  get request(): Omit<ChatRequest, 'messages'> {
    const request: Omit<ChatRequest, 'messages'> = { thinking: element<HTMLInputElement>('thinking').checked };
    for (const [id, name] of Object.entries(NUMBERS)) {
      const { value, valueAsNumber } = element<HTMLInputElement>(id);
      if (value.trim() !== '' && Number.isFinite(valueAsNumber)) request[name] = valueAsNumber;
    }
    return request;
  }

  private keep(): void {
    const values = fields().map((field) => {
      const isCheck = field instanceof HTMLInputElement && field.type === 'checkbox';
      return [field.id, isCheck ? (field as HTMLInputElement).checked : field.value];
    });
    localStorage.setItem(KEY, JSON.stringify(Object.fromEntries(values)));
  }
}

function fields(): (HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement)[] {
  return [...element('settings').querySelectorAll<HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement>('input, select, textarea')];
}
