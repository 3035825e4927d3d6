import DOMPurify from 'dompurify';
import { marked } from 'marked';
import { maths } from './maths';

marked.use({ extensions: maths });

/** Renders a reply. What the model writes is never trusted: the result holds no scripts, styles or forms, and loads nothing. */
export function render(markdown: string): DocumentFragment {
  const html = marked.parse(markdown, { async: false, breaks: true, gfm: true });
  const fragment = DOMPurify.sanitize(html, {
    RETURN_DOM_FRAGMENT: true,
    FORBID_TAGS: ['img', 'audio', 'video', 'picture', 'source', 'style', 'form', 'input', 'iframe'],
    FORBID_ATTR: ['style', 'class', 'id'],
  });
  for (const pre of fragment.querySelectorAll('pre')) pre.append(copyButton(pre.textContent ?? ''));
  for (const link of fragment.querySelectorAll('a')) Object.assign(link, { target: '_blank', rel: 'noopener noreferrer' });
  return fragment;
}

function copyButton(code: string): HTMLButtonElement {
  const button = document.createElement('button');
  button.type = 'button';
  button.textContent = 'Copy';
  button.addEventListener('click', () => {
    navigator.clipboard.writeText(code).then(
      () => (button.textContent = 'Copied'),
      () => (button.textContent = 'Not allowed'),
    );
  });
  return button;
}
