import { useEffect, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { galleryUrl, report, type VisitorPicture } from "./api";

interface Props {
  pictures: VisitorPicture[] | null;
  hasMore: boolean;
  onMore: () => Promise<void>;
  onUse: (prompt: string) => void;
  onReported: (id: string) => void;
}

/** What visitors have drawn and want to show. */
export function Gallery({ pictures, hasMore, onMore, onUse, onReported }: Props) {
  const { t } = useTranslation();
  const [opened, setOpened] = useState<VisitorPicture | null>(null);
  const [failed, setFailed] = useState(false);
  const more = () => onMore().then(() => setFailed(false), () => setFailed(true));
  return (
    <section aria-label={t("share.visit.gallery")}>
      <h2>{t("share.visit.gallery")}</h2>
      {pictures === null && <p className="note" role="status">{t("share.visit.loading")}</p>}
      {pictures?.length === 0 && <p className="note">{t("share.visit.noneYet")}</p>}
      <ul className="gallery">
        {pictures?.map((picture) => (
          <li key={picture.id}>
            <button type="button" className="frame" style={{ aspectRatio: `${picture.width ?? 1} / ${picture.height ?? 1}` }} onClick={() => setOpened(picture)} aria-label={t("picture.open", { prompt: picture.prompt })}>
              <img src={galleryUrl(picture.id)} alt="" loading="lazy" />
            </button>
          </li>
        ))}
      </ul>
      {hasMore && <p className="actions"><button type="button" onClick={() => void more()}>{t("share.visit.showMore")}</button></p>}
      {failed && <p className="note bad" role="alert">{t("share.visit.noAnswer")}</p>}
      {opened && <Opened picture={opened} onClose={() => setOpened(null)} onUse={onUse} onReported={onReported} />}
    </section>
  );
}

function Opened({ picture, onClose, onUse, onReported }: { picture: VisitorPicture; onClose: () => void } & Pick<Props, "onUse" | "onReported">) {
  const { t } = useTranslation();
  const dialog = useRef<HTMLDialogElement>(null);
  const [state, setState] = useState<"" | "asking" | "sending" | "done" | "failed">("");
  const [reason, setReason] = useState("");
  useEffect(() => dialog.current?.showModal(), []);
  const send = async () => {
    setState("sending");
    try {
      await report(picture.id, reason);
      setState("done");
    } catch {
      setState("failed");
    }
  };
  const close = () => {
    if (state === "done") onReported(picture.id);
    onClose();
  };
  return (
    <dialog ref={dialog} onClose={close} onClick={(event) => event.target === dialog.current && dialog.current?.close()} aria-label={t("picture.title")}>
      <div className="dialog">
        <div className="frame" style={{ aspectRatio: `${picture.width ?? 1} / ${picture.height ?? 1}` }}><img src={galleryUrl(picture.id)} alt={picture.prompt} /></div>
        <p className="words">{picture.prompt}</p>
        <div className="actions">
          <button type="button" className="main" onClick={() => { dialog.current?.close(); onUse(picture.prompt); }}>{t("share.visit.use")}</button>
          {!picture.mine && state === "" && <button type="button" onClick={() => setState("asking")}>{t("share.visit.report")}</button>}
          <button type="button" onClick={() => dialog.current?.close()}>{t("common.close")}</button>
        </div>
        {(state === "asking" || state === "sending" || state === "failed") && (
          <form onSubmit={(event) => { event.preventDefault(); void send(); }}>
            <label htmlFor="reason">{t("share.visit.reason")}</label>
            <input id="reason" value={reason} maxLength={200} onChange={(event) => setReason(event.currentTarget.value)} autoFocus />
            <div className="actions"><button type="submit" disabled={state === "sending"}>{t("share.visit.reportSend")}</button></div>
            {state === "failed" && <p className="note bad" role="alert">{t("share.visit.failed")}</p>}
          </form>
        )}
        <div role="status">{state === "done" && <p className="note">{t("share.visit.reported")}</p>}</div>
      </div>
    </dialog>
  );
}
