import { useEffect, useState } from "react";
import { useTranslation } from "react-i18next";
import { type About, getFile, setShown, type VisitorPicture } from "./api";
import { useLive } from "./useShare";

interface Props {
  picture: VisitorPicture;
  about: About;
  onEnded: (ended: Partial<VisitorPicture>) => void;
  onChanged: (by: Partial<VisitorPicture>) => void;
  onRemove: () => void;
  onTakeBack: () => void;
  /** The server does not answer. */
  onLost: () => void;
}

/** A picture of this browser, from the queue to the gallery. */
export function OwnPicture({ picture, about, onEnded, onChanged, onRemove, onTakeBack, onLost }: Props) {
  const { t } = useTranslation();
  const live = useLive(picture, onEnded, onLost);
  const isActive = picture.state === "waiting" || picture.state === "running";
  const percent = Math.round(100 * live.progress);
  return (
    <li className="card picture-card">
      <div className="frame" style={{ aspectRatio: `${picture.width ?? about.width} / ${picture.height ?? about.height}` }}>
        {picture.state === "done" && <OwnImage picture={picture} />}
        {isActive && live.preview && <img src={`data:image/png;base64,${live.preview}`} alt={t("generate.preview")} />}
        {isActive && (
          <div className="progress" role="status">
            <span>{live.place !== null ? (live.place === 0 ? t("share.visit.next") : t("share.visit.place", { count: live.place })) : t("generate.drawing", { percent })}</span>
            <div className="bar"><div style={{ width: `${percent}%` }} /></div>
          </div>
        )}
        {picture.state === "failed" && <p className="progress">{t("share.visit.failed")}</p>}
      </div>
      <p className="words">{picture.prompt}</p>
      {picture.flagged && <p className="note">{t("share.visit.flagged")}</p>}
      {picture.hidden && picture.shown && <p className="note">{t("share.visit.hidden")}</p>}
      {!isActive && <Actions picture={picture} about={about} onChanged={onChanged} onRemove={onRemove} />}
      {isActive && live.place !== null && <div className="actions"><button type="button" onClick={onTakeBack}>{t("share.visit.takeBack")}</button></div>}
    </li>
  );
}

function Actions({ picture, about, onChanged, onRemove }: Pick<Props, "picture" | "about" | "onChanged" | "onRemove">) {
  const { t } = useTranslation();
  const [failed, setFailed] = useState(false);
  /** What was chosen, until the server has answered. */
  const [chosen, setChosen] = useState<boolean | null>(null);
  const show = async (shown: boolean) => {
    setFailed(false);
    setChosen(shown);
    try {
      onChanged(await setShown(picture.id, shown));
    } catch {
      setFailed(true);
    }
    setChosen(null);
  };
  return (
    <div className="actions">
      {about.gallery && picture.state === "done" && !picture.flagged && (
        <label className="switch">
          <input type="checkbox" role="switch" checked={chosen ?? picture.shown} onChange={(event) => void show(event.currentTarget.checked)} />
          {t("share.visit.show")}
        </label>
      )}
      <button type="button" onClick={onRemove}>{t("share.visit.remove")}</button>
      {failed && <p className="note bad" role="alert">{t("share.visit.failed")}</p>}
    </div>
  );
}

/** The picture as a file of this page: only requests with the browser's secret get it. */
function OwnImage({ picture }: { picture: VisitorPicture }) {
  const { t } = useTranslation();
  const [url, setUrl] = useState<string | null>(null);
  const [failed, setFailed] = useState(false);
  useEffect(() => {
    const stop = new AbortController();
    let made: string | null = null;
    getFile(picture.id, stop.signal).then((file) => {
      made = URL.createObjectURL(file);
      setUrl(made);
    }, () => !stop.signal.aborted && setFailed(true));
    return () => {
      stop.abort();
      if (made) URL.revokeObjectURL(made);
    };
  }, [picture.id]);
  if (!url) return <p className="progress" role="status">{failed ? t("share.visit.notFetched") : t("share.visit.fetching")}</p>;
  return (
    <>
      <img src={url} alt={picture.prompt} />
      <a className="save" href={url} download={`${picture.id}.webp`}>{t("picture.download")}</a>
    </>
  );
}
