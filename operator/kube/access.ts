/** Access to an API server: its address, and the credentials of each request. */
import { readFile } from "node:fs/promises";
import type https from "node:https";

/** The API server's address, and the options of each request. */
export interface ClusterAccess {
  readonly server: URL;
  /** True if requests must use the agent of the request options, which connects through a proxy. */
  readonly isProxied: boolean;
  /**
   * Returns TLS options and headers of one request.
   * @throws Error that names the file and the field if a credential cannot be read
   */
  requestOptions(): Promise<https.RequestOptions>;
}

/** A credential: its text, or a file that is read for each request, because it may be rotated. */
export type Credential =
  | { readonly text: string }
  | {
      readonly file: string;
      /** The setting that names the file. Error messages begin with it. */
      readonly field: string;
    };

/** Access without Kubernetes' client library. */
export interface DirectAccess {
  readonly server: URL;
  /** PEM certificates of the authorities; default: Node's. */
  readonly ca?: Credential | undefined;
  readonly skipVerify?: boolean;
  /** Name in the server's certificate; default: the host of the URL. */
  readonly serverName?: string | undefined;
  /** A client certificate and its key, in PEM. */
  readonly cert?: Credential | undefined;
  readonly key?: Credential | undefined;
  /** A bearer token. */
  readonly token?: Credential | undefined;
  /** Additional headers, sent unchanged. */
  readonly headers?: Readonly<Record<string, string | string[]>>;
}

/** Creates access without a proxy, with credentials from texts or files. */
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
