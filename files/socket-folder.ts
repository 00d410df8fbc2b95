/** Checks that only root can change which socket a path leads to. */
import { lstatSync, readlinkSync, type Stats } from "node:fs";
import { dirname, join, resolve, sep } from "node:path";

/** The kernel's limit for symbolic links of one path. */
const MAX_LINKS = 40;
/** Size of sun_path in struct sockaddr_un, without the final zero. */
const MAX_SOCKET_PATH_BYTES = 107;
const WRITABLE_BY_OTHERS = 0o022;
const STICKY = 0o1000;

/** A path that a user other than root can redirect. The message has reason and remedy. */
export class UnsafePathError extends Error {
  constructor(what: string, remedy: string) {
    super(`${what}; ${remedy}`);
    this.name = "UnsafePathError";
  }
}

/**
 * Returns the socket's path with all symbolic links resolved. Every folder of the path must belong to root and
 * be writable by root only. Folders above the socket's folder may be writable by others if they are sticky
 * (/tmp), because there only root can rename root's entries. A folder that does not exist is accepted if
 * only root can create it.
 * @throws UnsafePathError
 */
export function requireSafeSocket(path: string): string {
  if (Buffer.byteLength(path) > MAX_SOCKET_PATH_BYTES) {
    const remedy = "use a shorter path";
    throw new UnsafePathError(`the path is longer than ${MAX_SOCKET_PATH_BYTES} bytes`, remedy);
  }
  let links = 0;
  let reached = "/";
  let folder = lookAt("/");
  let parts = resolve(path).split(sep).slice(1);
  while (parts.length > 0) {
    const [name = "", ...rest] = parts;
    requireFolder(reached, folder, { isLast: rest.length === 0 });
    const next = join(reached, name);
    const stat = folder === undefined ? undefined : lookAt(next);
    requireRoots(next, stat, folder, rest.length === 0);
    if (stat?.isSymbolicLink() !== true) {
      [reached, folder, parts] = [next, stat, rest];
      continue;
    }
    if (++links > MAX_LINKS) {
      throw new UnsafePathError(`${next} is a circle of symbolic links`, "use a path without it");
    }
    parts = [...resolve(dirname(next), readlinkSync(next)).split(sep).slice(1), ...rest];
    [reached, folder] = ["/", lookAt("/")];
  }
  return reached;
}

/** Returns the entry at the path, without following a link; undefined if it does not exist. */
function lookAt(path: string): Stats | undefined {
  try {
    return lstatSync(path);
  } catch (error) {
    const { code } = error as { code?: unknown };
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw new UnsafePathError(`cannot examine ${path} (${code})`, "use another path");
  }
}

function requireFolder(path: string, stat: Stats | undefined, { isLast }: { isLast: boolean }) {
  if (stat === undefined) return;
  if (stat.uid !== 0) throw belongsTo(path, stat.uid);
  if ((stat.mode & WRITABLE_BY_OTHERS) === 0) return;
  const mode = (stat.mode & 0o7777).toString(8).padStart(4, "0");
  if ((stat.mode & STICKY) !== 0 && !isLast) return;
  const remedy = `run chmod go-w ${path}, or use another folder`;
  throw new UnsafePathError(`users other than root can write to ${path} (mode ${mode})`, remedy);
}

/** In a sticky folder only the owner can rename an entry, but every user can create a missing one. */
function requireRoots(
  path: string,
  stat: Stats | undefined,
  folder: Stats | undefined,
  isSocket: boolean,
): void {
  if (stat === undefined) {
    if (folder === undefined || (folder.mode & WRITABLE_BY_OTHERS) === 0) return;
    const remedy = "create it as root, with mode 0700";
    throw new UnsafePathError(`${path} does not exist, and any user can create it`, remedy);
  }
  if (stat.uid !== 0 && (stat.isSymbolicLink() || !isSocket)) throw belongsTo(path, stat.uid);
}

function belongsTo(path: string, uid: number): UnsafePathError {
  return new UnsafePathError(
    `${path} belongs to user ${uid}, not to root`,
    `run chown root ${path}, or use another folder`,
  );
}
