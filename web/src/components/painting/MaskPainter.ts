/** A mask that is painted: its pixels, and the steps back and forward. What is painted is opaque, the rest transparent. */

const INK = "#e8590c";
/** Longer side at which masks are painted; the server scales them to the image. */
const MOST = 1280;
const KEPT_STEPS = 40;

export type Tool = "paint" | "erase";
export type Point = [number, number];

export class MaskPainter {
  private context: CanvasRenderingContext2D;
  private before: Uint8ClampedArray[] = [];
  private after: Uint8ClampedArray[] = [];
  private last: Point | null = null;

  constructor(readonly canvas: HTMLCanvasElement, width: number, height: number) {
    const scale = Math.min(1, MOST / Math.max(width, height));
    canvas.width = Math.max(1, Math.round(width * scale));
    canvas.height = Math.max(1, Math.round(height * scale));
    const context = canvas.getContext("2d", { willReadFrequently: true });
    if (!context) throw new Error("this browser cannot paint on a canvas");
    this.context = context;
  }

  get canUndo() {
    return this.before.length > 0;
  }

  get canRedo() {
    return this.after.length > 0;
  }

  get isPainting() {
    return this.last !== null;
  }

  /** Take over a grey mask; it is what the history begins with. */
  async load(url: string): Promise<void> {
    const image = new Image();
    image.src = url;
    await image.decode();
    const { width, height } = this.canvas;
    this.context.clearRect(0, 0, width, height);
    this.context.drawImage(image, 0, 0, width, height);
    const { data } = this.context.getImageData(0, 0, width, height);
    const alpha = new Uint8ClampedArray(width * height);
    for (let i = 0; i < alpha.length; i += 1) alpha[i] = ((data[4 * i] ?? 0) * (data[4 * i + 3] ?? 0)) / 255;
    this.show(alpha);
    this.before = [];
    this.after = [];
  }

  /** Begin a stroke at a point in pixels of the canvas. */
  begin(at: Point, tool: Tool, diameter: number): void {
    this.remember();
    this.last = at;
    this.extend(at, tool, diameter);
  }

  extend(to: Point, tool: Tool, diameter: number): void {
    const from = this.last ?? to;
    const { context } = this;
    context.globalCompositeOperation = tool === "paint" ? "source-over" : "destination-out";
    context.strokeStyle = INK;
    context.lineCap = "round";
    context.lineJoin = "round";
    context.lineWidth = diameter;
    context.beginPath();
    context.moveTo(...from);
    context.lineTo(to[0] + 0.01, to[1]); // a line of no length is not drawn everywhere
    context.stroke();
    context.globalCompositeOperation = "source-over";
    this.last = to;
  }

  end(): void {
    this.last = null;
  }

  invert(): void {
    this.change((alpha) => 255 - alpha);
  }

  clear(): void {
    this.change(() => 0);
  }

  undo(): void {
    const alpha = this.before.pop();
    if (!alpha) return;
    this.after.push(this.alpha());
    this.show(alpha);
  }

  redo(): void {
    const alpha = this.after.pop();
    if (!alpha) return;
    this.before.push(this.alpha());
    this.show(alpha);
  }

  /** The mask as a PNG, white where it is painted; null: nothing is. */
  png(): string | null {
    const alpha = this.alpha();
    if (!alpha.some((value) => value > 0)) return null;
    const grey = document.createElement("canvas");
    grey.width = this.canvas.width;
    grey.height = this.canvas.height;
    const context = grey.getContext("2d");
    if (!context) return null;
    const image = context.createImageData(grey.width, grey.height);
    for (let i = 0; i < alpha.length; i += 1) image.data.set([alpha[i] ?? 0, alpha[i] ?? 0, alpha[i] ?? 0, 255], 4 * i);
    context.putImageData(image, 0, 0);
    return grey.toDataURL("image/png");
  }

  /** Share of the picture that is painted, 0 to 1. */
  share(): number {
    const alpha = this.alpha();
    return alpha.reduce((sum, value) => sum + value, 0) / 255 / alpha.length;
  }

  private change(by: (alpha: number) => number): void {
    this.remember();
    this.show(this.alpha().map(by));
  }

  private remember(): void {
    this.before.push(this.alpha());
    if (this.before.length > KEPT_STEPS) this.before.shift();
    this.after = [];
  }

  private alpha(): Uint8ClampedArray {
    const { width, height } = this.canvas;
    const { data } = this.context.getImageData(0, 0, width, height);
    const alpha = new Uint8ClampedArray(width * height);
    for (let i = 0; i < alpha.length; i += 1) alpha[i] = data[4 * i + 3] ?? 0;
    return alpha;
  }

  private show(alpha: Uint8ClampedArray): void {
    const { width, height } = this.canvas;
    const image = this.context.createImageData(width, height);
    const [r, g, b] = [1, 3, 5].map((at) => Number.parseInt(INK.slice(at, at + 2), 16)) as [number, number, number];
    for (let i = 0; i < alpha.length; i += 1) image.data.set([r, g, b, alpha[i] ?? 0], 4 * i);
    this.context.putImageData(image, 0, 0);
  }
}
