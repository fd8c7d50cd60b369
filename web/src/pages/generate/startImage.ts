import { dataUrl } from "../../components/files";
import { changeDraft, type Draft, type StartImage, withoutImage } from "./draft";

export type SendAs = Draft["startAs"];

/** A picture as one to begin from. */
export async function startImage(file: Blob): Promise<StartImage> {
  const data = await dataUrl(file);
  const image = new Image();
  image.src = data;
  await image.decode();
  return { data, width: image.naturalWidth, height: image.naturalHeight, strength: 0.6 };
}

/** Put a picture of the server into the form, to change it, to paint over a part, or to go on beyond its edges. */
export async function sendToForm(url: string, startAs: SendAs, change: Partial<Draft> = {}): Promise<void> {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
  const image = await startImage(await answer.blob());
  const strength = startAs === "beyond" ? 0.9 : image.strength;
  changeDraft({ ...withoutImage(), width: null, height: null, hires: null, ...change, image: { ...image, strength }, startAs });
}
