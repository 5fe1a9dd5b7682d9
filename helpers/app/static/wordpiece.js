// BERT's tokenizer for lower case, as the library `tokenizers` has it: clean, strip accents, split, longest pieces first.
// It reads texts on the visitor's own device; tests hold it against the library, sign by sign.

const SPACE = /\p{White_Space}/u;
// Chinese characters stand alone; that the ranges leave out U+2B820 to U+2B91F is the library's.
const CHINESE = [[0x4E00, 0x9FFF], [0x3400, 0x4DBF], [0x20000, 0x2A6DF], [0x2A700, 0x2B73F], [0x2B740, 0x2B81F],
                 [0x2B920, 0x2CEAF], [0xF900, 0xFAFF], [0x2F800, 0x2FA1F]];
const DROPPED = 1, ALONE = 2, OF_CHINESE = 4;

// What becomes of each sign. Dropped signs (control characters, accents) and those that stand alone (punctuation) come
// as the library has them: it and a browser know different versions of Unicode.
function kindsOf({dropped, alone}) {
  const kinds = new Uint8Array(0x110000);
  for (const [ranges, kind] of [[dropped, DROPPED], [alone, ALONE], [CHINESE, OF_CHINESE]]) {
    for (const [low, high] of ranges) for (let code = low; code <= high; code++) kinds[code] |= kind;
  }
  return kinds;
}

export class WordPiece {
  // pieces: the vocabulary in the order of its numbers; rules: see `for_the_browser` in Python.
  constructor(pieces, rules) {
    this.numbers = new Map(pieces.map((piece, number) => [piece, number]));
    this.rules = rules;
    this.kinds = kindsOf(rules);
    this.known = new Map();
  }

  is(sign, kind) {
    return this.kinds[sign.codePointAt(0)] & kind;
  }

  // Lower case sign by sign: a whole word's would turn a last sigma into another letter.
  *signsOf(text) {
    const kept = Array.from(text, (sign) => this.is(sign, DROPPED) ? "" : this.is(sign, OF_CHINESE) ? ` ${sign} ` : sign);
    for (const sign of kept.join("").normalize("NFD")) if (!this.is(sign, DROPPED)) yield* sign.toLowerCase();
  }

  *wordsOf(text) {
    let word = "";
    for (const sign of this.signsOf(text)) {
      const space = SPACE.test(sign), alone = this.is(sign, ALONE);
      if ((space || alone) && word) {
        yield word;
        word = "";
      }
      if (alone) yield sign;
      else if (!space) word += sign;
    }
    if (word) yield word;
  }

  // Token numbers of a text, at most rules.max_tokens, the marks before and after it included.
  encode(text) {
    const {before, after, marks, max_tokens, max_characters} = this.rules;
    const ids = [before];
    for (const part of this.parts(Array.from(text).slice(0, max_characters).join(""))) {
      if (ids.length >= max_tokens) break;
      if (Object.hasOwn(marks, part)) ids.push(marks[part]);
      else for (const word of this.wordsOf(part)) ids.push(...this.word(word));
    }
    ids.length = Math.min(ids.length, max_tokens - 1);
    return [...ids, after];
  }

  // Marks such as [SEP], written out in a text, are taken for marks.
  parts(text) {
    const names = Object.keys(this.rules.marks).map((name) => name.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"));
    return names.length ? text.split(new RegExp(`(${names.join("|")})`)) : [text];
  }

  word(word) {
    let ids = this.known.get(word);
    if (ids === undefined) {
      ids = this.pieces(Array.from(word));
      if (this.known.size < 100_000) this.known.set(word, ids);
    }
    return ids;
  }

  pieces(signs) {
    const {unknown, longest_word} = this.rules;
    if (signs.length > longest_word) return [unknown];
    const ids = [];
    for (let start = 0, end; start < signs.length; start = end) {
      let found;
      for (end = signs.length; end > start; end--) {
        found = this.numbers.get((start ? "##" : "") + signs.slice(start, end).join(""));
        if (found !== undefined) break;
      }
      if (found === undefined) return [unknown];
      ids.push(found);
    }
    return ids;
  }
}
