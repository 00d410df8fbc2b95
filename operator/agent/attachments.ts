/**
 * The attachments of the node in its state folder: one file each, replaced atomically. Files are not synced to the
 * disk, because a crash of the machine also removes the pods' namespaces.
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
/** Holds the ID of the boot in which the files beside it were written. */
const BOOT_FILE = ".boot-id";

/** An attachment file that cannot be read. */
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

  /** Reads all files. Keeps unreadable files, unless a reboot ended their pods. */
  constructor(stateFolder: string) {
    this.#folder = join(stateFolder, "attachments");
    this.#readAll();
  }

  /** Reads unreadable files again: an administrator may have repaired or deleted them. */
  recheck(): void {
    for (const path of [...this.#unreadable.keys()]) {
      this.#unreadable.delete(path);
      if (path === this.#folder) this.#readAll();
      else if (lstatSync(path, { throwIfNoEntry: false }) !== undefined) this.#read(path, false);
    }
  }

  /** Unreadable files. While there are any, the agent keeps sessions without a known pod: a file may be about them. */
  get unreadable(): readonly UnreadableFile[] {
    return [...this.#unreadable.values()];
  }

  get(key: string): Attachment | undefined {
    return this.#byKey.get(key);
  }

  all(): Iterable<Attachment> {
    return this.#byKey.values();
  }

  /** Returns the attachments of the session, the oldest first. */
  ofSession(session: string): readonly Attachment[] {
    return this.#bySession.get(session) ?? [];
  }

  /** Returns the attachments that use the session: they are not leaving, and their pods exist. */
  livingOf(session: string): readonly Attachment[] {
    return this.ofSession(session).filter((item) => !item.leaving && isAlive(item));
  }

  /** Saves the attachment. @throws if the file cannot be written; the store is unchanged then */
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

  /** Like `put`, but keeps the attachment in memory if the file cannot be written. */
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
      // A broken disk must not block the deletion of a pod.
    }
  }

  /**
   * Removes the unreadable files of this call, whose pod is being deleted.
   * @returns the names of their interfaces
   */
  dropUnreadable(call: CniCall): readonly string[] {
    return this.#unreadableOf(call).map((path) => {
      remove(path);
      this.#unreadable.delete(path);
      // File names of earlier versions do not contain the interface.
      return /\.([^/]+)\.json$/.exec(path)?.[1] ?? call.cniIfname;
    });
  }

  /** Removes all unreadable files. To be called after all sessions were deleted. */
  removeUnreadable(): void {
    for (const path of this.#unreadable.keys()) if (path !== this.#folder) remove(path);
    this.#unreadable.clear();
  }

  /** True if one of the unreadable files belongs to this call. */
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

  /** True if the machine rebooted since: no network namespace of then exists. Boot IDs, unlike clocks, do not jump. */
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
        // Unreadable files are then kept after the next boot, too.
      }
      return false;
    }
  }

  #read(path: string, isOfEarlierBoot: boolean): void {
    try {
      const attachment = parseAttachment(readJsonFile(path, MAX_FILE_BYTES));
      const known = this.#paths.get(attachmentKey(attachment));
      if (known === undefined) return this.#remember(attachment, path);
      // The file is a copy, or the remainder of an interrupted renaming.
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

  /** The file name starts with a digest of the call, by which DEL finds an unreadable file. */
  #pathOf(attachment: Attachment): string {
    return join(this.#folder, `${digestOf(attachment)}.${attachment.ifname}.json`);
  }
}

const byCreation = (a: Attachment, b: Attachment): number =>
  a.createdAt < b.createdAt ? -1 : a.createdAt > b.createdAt ? 1 : 0;

/** Returns 32 hexadecimal digits: container IDs can be longer than file names. */
function digestOf({ containerId, cniIfname }: CniCall): string {
  const text = `${containerId}/${cniIfname}`;
  return createHash("sha256").update(text).digest("hex").slice(0, 32);
}

function remove(path: string): void {
  try {
    if (lstatSync(path, { throwIfNoEntry: false })?.isDirectory()) setAside(path);
    else rmSync(path, { force: true });
  } catch {
    // A read-only disk keeps the file; the next start finds it again.
  }
}
