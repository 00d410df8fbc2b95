/** Newline-delimited JSON: the framing of the project's unix sockets. Each line is a request or a reply. */

/** Splits a byte stream into lines of bounded length. */
export class LineSplitter {
  readonly #maxBytes: number;
  #parts: Uint8Array[] = [];
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /**
   * Returns the lines that the chunk completes, without line breaks.
   * @throws LineTooLongError if a line, complete or not, exceeds the bound
   */
  push(chunk: Uint8Array): string[] {
    const lines: string[] = [];
    let rest = chunk;
    for (;;) {
      const end = rest.indexOf(0x0a);
      const piece = end < 0 ? rest : rest.subarray(0, end);
      if (this.#bytes + piece.length > this.#maxBytes) throw new LineTooLongError(this.#maxBytes);
      // Copied, because the caller may reuse its buffer.
      if (piece.length > 0) this.#parts.push(new Uint8Array(piece));
      this.#bytes += piece.length;
      if (end < 0) return lines;
      lines.push(Buffer.concat(this.#parts).toString("utf8"));
      this.#parts = [];
      this.#bytes = 0;
      rest = rest.subarray(end + 1);
    }
  }
}

/** A line exceeds the splitter's bound. */
export class LineTooLongError extends Error {
  constructor(maxBytes: number) {
    super(`message exceeds ${maxBytes} bytes`);
    this.name = "LineTooLongError";
  }
}
