/**
 * The attachments of the node in its state folder: one file each, replaced atomically. They are not
 * synced to the disk: where the machine itself stops, the pods' namespaces are gone as well.
 */
import { createHash } from "node:crypto";
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { type Attachment, attachmentKey } from "../convert/attachment.ts";
import { isAlive } from "./pod-netns.ts";

export class AttachmentStore {
  readonly #folder: string;
  readonly #byKey = new Map<string, Attachment>();
  readonly #bySession = new Map<string, Attachment[]>();

  /** Reads what is there; a file that cannot be read is reported to `damaged` and left alone. */
  constructor(stateFolder: string, damaged: (path: string, error: unknown) => void) {
    this.#folder = join(stateFolder, "attachments");
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    for (const name of readdirSync(this.#folder).sort()) {
      if (!name.endsWith(".json")) continue;
      const path = join(this.#folder, name);
      if (statSync(path).size === 0) {
        // What a power cut leaves of a file whose pod it ended.
        rmSync(path);
        continue;
      }
      try {
        this.#remember(JSON.parse(readFileSync(path, "utf8")) as Attachment);
      } catch (error) {
        damaged(path, error);
      }
    }
  }

  get(key: string): Attachment | undefined {
    return this.#byKey.get(key);
  }

  all(): Iterable<Attachment> {
    return this.#byKey.values();
  }

  /** The first to have come first. */
  ofSession(session: string): readonly Attachment[] {
    return this.#bySession.get(session) ?? [];
  }

  /** Those that hold the session: they are not leaving, and their pods live. */
  livingOf(session: string): readonly Attachment[] {
    return this.ofSession(session).filter((item) => !item.leaving && isAlive(item));
  }

  /** @throws where it cannot be written; then nothing is remembered either */
  put(attachment: Attachment): void {
    // Not write-file-atomic, which takes three times as long: a runtime waits for this, and needs only
    // that nobody ever reads half of it.
    const path = this.#pathOf(attachment);
    writeFileSync(`${path}.new`, `${JSON.stringify(attachment, null, 2)}\n`, { mode: 0o600 });
    renameSync(`${path}.new`, path);
    this.#forget(attachmentKey(attachment));
    this.#remember(attachment);
  }

  /** As `put`, but remembers it even where it cannot be written. */
  putIfPossible(attachment: Attachment): void {
    try {
      this.put(attachment);
    } catch {
      this.#forget(attachmentKey(attachment));
      this.#remember(attachment);
    }
  }

  delete(key: string): void {
    const attachment = this.#byKey.get(key);
    if (attachment === undefined) return;
    this.#forget(key);
    try {
      unlinkSync(this.#pathOf(attachment));
    } catch {
      // A disk that takes nothing any more must not keep a pod from going: it is gone all the same.
    }
  }

  #remember(attachment: Attachment): void {
    this.#byKey.set(attachmentKey(attachment), attachment);
    const others = this.#bySession.get(attachment.session) ?? [];
    this.#bySession.set(attachment.session, [...others, attachment]);
  }

  #forget(key: string): void {
    const attachment = this.#byKey.get(key);
    if (attachment === undefined) return;
    this.#byKey.delete(key);
    const rest = this.ofSession(attachment.session).filter((other) => attachmentKey(other) !== key);
    if (rest.length > 0) this.#bySession.set(attachment.session, rest);
    else this.#bySession.delete(attachment.session);
  }

  /** Container ids may be longer than file names. */
  #pathOf(attachment: Attachment): string {
    const name = createHash("sha256").update(attachmentKey(attachment)).digest("hex").slice(0, 32);
    return join(this.#folder, `${name}.json`);
  }
}
