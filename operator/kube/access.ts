/** How requests reach an API server: its address, and the credentials that go with each request. */
import { readFile } from "node:fs/promises";
import type https from "node:https";

export interface ClusterAccess {
  readonly server: URL;
  /** The request options contain an agent that the request must use, because it passes a proxy. */
  readonly isProxied: boolean;
  /**
   * TLS options and headers of one request.
   * @throws Error that names the file and the field if a credential cannot be read
   */
  requestOptions(): Promise<https.RequestOptions>;
}

/** A credential: its text, or a file that is read again for each request because it is rotated. */
export type Credential =
  | { readonly text: string }
  | {
      readonly file: string;
      /** The setting that names the file, as error messages begin. */
      readonly field: string;
    };

export interface DirectAccess {
  readonly server: URL;
  /** PEM certificates that the server's certificate is checked against; default: Node's own. */
  readonly ca?: Credential | undefined;
  readonly skipVerify?: boolean;
  /** The name in the server's certificate, if it is not the one in the URL. */
  readonly serverName?: string | undefined;
  /** A client certificate and its key, in PEM. */
  readonly cert?: Credential | undefined;
  readonly key?: Credential | undefined;
  /** A bearer token. */
  readonly token?: Credential | undefined;
  /** Sent as they are. */
  readonly headers?: Readonly<Record<string, string | string[]>>;
}

/** Access without a proxy, by credentials that are texts or files. */
export function directAccess(access: DirectAccess): ClusterAccess {
  const { server, skipVerify = false, serverName } = access;
  return {
    server,
    isProxied: false,
    async requestOptions() {
      const [ca, cert, key, token] = await Promise.all(
        [access.ca, access.cert, access.key, access.token].map(read),
      );
      return {
        ...(ca !== undefined && { ca }),
        ...(cert !== undefined && { cert, key }),
        ...(skipVerify && { rejectUnauthorized: false }),
        ...(serverName !== undefined && { servername: serverName }),
        headers: {
          ...access.headers,
          ...(token !== undefined && { authorization: `Bearer ${token.trim()}` }),
        },
      };
    },
  };
}

async function read(credential: Credential | undefined): Promise<string | undefined> {
  if (credential === undefined || "text" in credential) return credential?.text;
  const { file, field } = credential;
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    const { message, code } = error as NodeJS.ErrnoException;
    throw Object.assign(new Error(`${field}: ${message}`), { code });
  }
  if (text.trim() === "") throw new Error(`${field}: ${file} is empty`);
  return text;
}
