/** Reads objects from a folder of manifests, and writes status into the state folder. */
import { join } from "node:path";
import type { HeldObjects } from "../../resolve/held.ts";
import type { SecretReader } from "../../resolve/secret.ts";
import type { Found, ObjectSource, StatusSink } from "../source.ts";
import { HeldStore } from "./held-store.ts";
import { ManifestFolder, watchFolders } from "./manifests.ts";
import { fileSecrets } from "./secrets.ts";
import { StatusStore } from "./status-store.ts";

export interface FolderOptions {
  readonly manifests: string;
  /** Files NAMESPACE/NAME/KEY; default: `secrets` in the folder. */
  readonly secrets: string | undefined;
  readonly stateFolder: string;
}

export class FolderSource implements ObjectSource {
  readonly folder: string;
  readonly isWhole = true;
  readonly secrets: SecretReader;
  readonly status: StatusSink;
  readonly #secretsFolder: string;
  readonly #manifests: ManifestFolder;
  readonly #held: HeldStore;

  constructor({ manifests, secrets, stateFolder }: FolderOptions) {
    this.folder = manifests;
    this.#secretsFolder = secrets ?? join(manifests, "secrets");
    this.#manifests = new ManifestFolder(manifests);
    this.secrets = fileSecrets(this.#secretsFolder);
    // Before the status is written: the first start reads the accepted objects from the status files.
    this.#held = new HeldStore(stateFolder);
    this.status = new StatusStore(stateFolder, () => new Date());
  }

  async read(): Promise<Found> {
    return { ...this.#manifests.read(), withdrawn: [], held: this.#held.held };
  }

  hold(held: HeldObjects): Error | null {
    return this.#held.write(held);
  }

  forget(): void {
    this.status.write([]);
  }

  watch(changed: () => void): () => void {
    return watchFolders([this.folder, this.#secretsFolder], changed);
  }

  /** Without a cluster, only the runtime passes annotations. */
  async annotationOf(): Promise<null> {
    return null;
  }

  async locateSession(): Promise<null> {
    return null;
  }
}
