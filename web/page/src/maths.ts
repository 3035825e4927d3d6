import type { TokenizerAndRendererExtension } from 'marked';
import temml from 'temml';

/** A dollar sign opens where something follows it, and closes where something stands before it and no digit behind: prices stay prices. */
const INLINE = /^(?:\$(?![\s$])((?:\\.|[^\\$\n])+?)(?<!\s)\$(?![\d$])|\\\(([\s\S]+?)\\\))/;
const DISPLAY = /^(?:\$\$([\s\S]+?)\$\$|\\\[([\s\S]+?)\\\])/;
/** On lines of its own it may hold what would begin a list elsewhere. */
const LINES = /^(?:\$\$([\s\S]+?)\$\$|\\\[([\s\S]+?)\\\])[^\S\n]*(?:\n|$)/;

/** Formulas in Markdown, in the signs of TeX; they become MathML. */
export const maths: TokenizerAndRendererExtension[] = [rule('formulas', 'block', LINES), rule('display', 'inline', DISPLAY), rule('formula', 'inline', INLINE)];

function rule(name: string, level: 'block' | 'inline', pattern: RegExp): TokenizerAndRendererExtension {
  return {
    name,
    level,
    start: (source) => source.match(level === 'block' ? /(?<=\n)(?:\$\$|\\\[)/ : /\$|\\[([]/)?.index,
    tokenizer(source) {
      const found = pattern.exec(source);
      return found ? { type: name, raw: found[0], text: (found[1] ?? found[2] ?? '').trim() } : undefined;
    },
    // What is no TeX is shown as it is written.
    renderer: ({ text }) => temml.renderToString(text as string, { displayMode: pattern !== INLINE, throwOnError: false }),
  };
}
