/**
 * The attachments of the node in its state folder: one file each, replaced atomically. They are not
 * synced to the disk: where the machine itself stops, the pods' namespaces are gone as well.
 */
import { createHash } from "node:crypto";
import { lstatSync, mkdirSync, readdirSync, rmSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { readJsonFile, readTextFile } from "../../files/read-file.ts";
import { replaceFile, setAside, UNFINISHED } from "../../files/replace-file.ts";
import { type Attachment, attachmentKey } from "../../model/attachments/attachment.ts";
import type { CniCall } from "../agent-protocol.ts";
import { parseAttachment } from "./attachment-file.ts";
import { bootId, isAlive } from "./pod-netns.ts";

const MAX_FILE_BYTES = 4 * 1024 * 1024;
/** Holds the id of the boot in which the files beside it were written. */
const BOOT_FILE = ".boot-id";

/** A file that should say which pod has which session, and cannot be read. */
export interface UnreadableFile {
  readonly path: string;
  readonly reason: string;
}

export class AttachmentStore {
  readonly #folder: string;
  readonly #byKey = new Map<string, Attachment>();
  readonly #bySession = new Map<string, Attachment[]>();
  /** The file of each attachment, by its key. */
  readonly #paths = new Map<string, string>();
  readonly #unreadable = new Map<string, UnreadableFile>();

  /**
   * Reads what is there. A file that cannot be read is left alone, unless a reboot has ended its
   * pod.
   */
  constructor(stateFolder: string) {
    this.#folder = join(stateFolder, "attachments");
    this.#readAll();
  }

  /** Looks again at what could not be read: an administrator may have repaired or deleted it. */
  recheck(): void {
    for (const path of [...this.#unreadable.keys()]) {
      this.#unreadable.delete(path);
      if (path === this.#folder) this.#readAll();
      else if (lstatSync(path, { throwIfNoEntry: false }) !== undefined) this.#read(path, false);
    }
  }

  /**
   * While there is one, sessions without a known pod are left alone: the file may be about one of
   * them.
   */
  get unreadable(): readonly UnreadableFile[] {
    return [...this.#unreadable.values()];
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
    const key = attachmentKey(attachment);
    const path = this.#pathOf(attachment);
    const before = this.#paths.get(key) ?? path;
    replaceFile(path, `${JSON.stringify(attachment, null, 2)}\n`);
    if (before !== path) remove(before);
    this.#unreadable.delete(path);
    this.#forget(key);
    this.#remember(attachment, path);
  }

  /** As `put`, but remembers it even where it cannot be written. */
  putIfPossible(attachment: Attachment): void {
    try {
      this.put(attachment);
    } catch {
      this.#forget(attachmentKey(attachment));
      this.#remember(attachment, this.#pathOf(attachment));
    }
  }

  delete(key: string): void {
    const attachment = this.#byKey.get(key);
    if (attachment === undefined) return;
    const path = this.#paths.get(key) ?? this.#pathOf(attachment);
    this.#forget(key);
    try {
      unlinkSync(path);
    } catch {
      // A disk that takes nothing any more must not keep a pod from going: it is gone all the same.
    }
  }

  /**
   * Removes the unreadable files that an ADD of this call has written: its pod goes.
   * @returns the names of the interfaces that they were about
   */
  dropUnreadable(call: CniCall): readonly string[] {
    return this.#unreadableOf(call).map((path) => {
      remove(path);
      this.#unreadable.delete(path);
      // Earlier versions left the interface's name out.
      return /\.([^/]+)\.json$/.exec(path)?.[1] ?? call.cniIfname;
    });
  }

  /** Removes all unreadable files: no session is left that they could be about. */
  removeUnreadable(): void {
    for (const path of this.#unreadable.keys()) if (path !== this.#folder) remove(path);
    this.#unreadable.clear();
  }

  /** True if an ADD of this call has written one of the unreadable files. */
  ownsUnreadable(call: CniCall): boolean {
    return this.#unreadableOf(call).length > 0;
  }

  #unreadableOf(call: CniCall): readonly string[] {
    const prefix = join(this.#folder, `${digestOf(call)}.`);
    return [...this.#unreadable.keys()].filter((path) => path.startsWith(prefix));
  }

  #readAll(): void {
    const names = this.#list();
    const isOfEarlierBoot = this.#isOfEarlierBoot();
    for (const name of names) {
      const path = join(this.#folder, name);
      if (name.endsWith(UNFINISHED)) remove(path);
      else if (name.endsWith(".json")) this.#read(path, isOfEarlierBoot);
    }
  }

  #list(): readonly string[] {
    try {
      mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
      return readdirSync(this.#folder).sort();
    } catch (error) {
      const reason = (error as Error).message;
      this.#unreadable.set(this.#folder, { path: this.#folder, reason });
      return [];
    }
  }

  /** Then no network namespace is left of its time. Clocks jump, ids of boots do not. */
  #isOfEarlierBoot(): boolean {
    const path = join(this.#folder, BOOT_FILE);
    try {
      const known = readTextFile(path, MAX_FILE_BYTES).trim();
      if (known === bootId()) return false;
      replaceFile(path, `${bootId()}\n`);
      return /^[0-9a-f-]{36}$/.test(known);
    } catch {
      try {
        replaceFile(path, `${bootId()}\n`);
      } catch {
        // Then a file that cannot be read is kept after the next boot, too.
      }
      return false;
    }
  }

  #read(path: string, isOfEarlierBoot: boolean): void {
    try {
      const attachment = parseAttachment(readJsonFile(path, MAX_FILE_BYTES));
      const known = this.#paths.get(attachmentKey(attachment));
      if (known === undefined) return this.#remember(attachment, path);
      // A copy, or what an interrupted change of its name has left.
      if (path !== this.#pathOf(attachment)) return remove(path);
      remove(known);
      this.#forget(attachmentKey(attachment));
      this.#remember(attachment, path);
    } catch (error) {
      if (isOfEarlierBoot) return remove(path);
      this.#unreadable.set(path, { path, reason: (error as Error).message });
    }
  }

  #remember(attachment: Attachment, path: string): void {
    this.#byKey.set(attachmentKey(attachment), attachment);
    this.#paths.set(attachmentKey(attachment), path);
    const others = this.#bySession.get(attachment.session) ?? [];
    const all = [...others, attachment].sort(byCreation);
    this.#bySession.set(attachment.session, all);
  }

  #forget(key: string): void {
    const attachment = this.#byKey.get(key);
    if (attachment === undefined) return;
    this.#byKey.delete(key);
    this.#paths.delete(key);
    const rest = this.ofSession(attachment.session).filter((other) => attachmentKey(other) !== key);
    if (rest.length > 0) this.#bySession.set(attachment.session, rest);
    else this.#bySession.delete(attachment.session);
  }

  /** The name begins with the ADD, so that its DEL finds a file that cannot be read. */
  #pathOf(attachment: Attachment): string {
    return join(this.#folder, `${digestOf(attachment)}.${attachment.ifname}.json`);
  }
}

const byCreation = (a: Attachment, b: Attachment): number =>
  a.createdAt < b.createdAt ? -1 : a.createdAt > b.createdAt ? 1 : 0;

/** Container ids may be longer than file names. */
function digestOf({ containerId, cniIfname }: CniCall): string {
  const text = `${containerId}/${cniIfname}`;
  return createHash("sha256").update(text).digest("hex").slice(0, 32);
}

function remove(path: string): void {
  try {
    if (lstatSync(path, { throwIfNoEntry: false })?.isDirectory()) setAside(path);
    else rmSync(path, { force: true });
  } catch {
    // A disk that takes no change keeps it; the next start meets it again.
  }
}
