import { useEffect, useState } from "react";
import { useTranslation } from "react-i18next";
import { isRemembered, NO_ANSWER, remove, type ShareError, type VisitorPicture } from "./api";
import { Gallery } from "./Gallery";
import { Languages } from "./Languages";
import { OwnPicture } from "./OwnPicture";
import { PromptForm } from "./PromptForm";
import { useRemovals, useShare } from "./useShare";

const MOST_OWN = 4;

export function SharePage() {
  const { t, i18n } = useTranslation();
  const share = useShare();
  const { about, mine, error } = share;
  const [words, setWords] = useState({ text: "", at: 0 });
  const [showsAll, setShowsAll] = useState(false);
  const removals = useRemovals(() => {
    void share.refresh();
    void share.refreshGallery();
  });
  useEffect(() => {
    if (about) document.title = about.title;
  }, [about]);

  if (!about) return <Alone error={error} />;
  if (error && error.status !== NO_ANSWER) return <Alone error={error} />;
  const until = about.expires && new Date(about.expires * 1000).toLocaleDateString(i18n.language, { dateStyle: "long" });
  const added = (picture: VisitorPicture) => share.setMine((was) => [picture, ...(was ?? [])]);
  const own = (mine ?? []).filter((one) => !removals.leaving.includes(one.id) && one.state !== "canceled");
  const changed = (picture: VisitorPicture, by: Partial<VisitorPicture>) => {
    share.change(picture.id, by);
    void share.refreshGallery();
  };
  return (
    <>
      <div role="status">{error && <p className="banner">{t("share.visit.noAnswer")}</p>}</div>
      <main>
        <header>
          <h1>{about.title}</h1>
          {about.intro && <p className="intro">{about.intro}</p>}
        </header>
        <PromptForm about={about} words={words} onDrawn={added} onRefused={() => void share.refresh()} />
        {own.length > 0 && (
          <section aria-label={t("share.visit.mine")}>
            <h2>{t("share.visit.mine")}</h2>
            {!isRemembered && <p className="note">{t("share.visit.notRemembered")}</p>}
            <ul className="own">
              {(showsAll ? own : own.slice(0, MOST_OWN)).map((picture) => (
                <OwnPicture
                  key={picture.id} picture={picture} about={about}
                  onEnded={(by) => { share.change(picture.id, by); void share.refresh(); }}
                  onChanged={(by) => changed(picture, by)}
                  onTakeBack={() => void remove(picture.id).catch(() => undefined).then(share.refresh)}
                  onLost={() => void share.refresh()}
                  onRemove={() => removals.begin(picture.id)}
                />
              ))}
            </ul>
            {own.length > MOST_OWN && !showsAll && <p className="actions after"><button type="button" onClick={() => setShowsAll(true)}>{t("share.visit.showMore")}</button></p>}
          </section>
        )}
        {about.gallery && (
          <Gallery
            pictures={share.gallery?.filter((one) => !removals.leaving.includes(one.id)) ?? null}
            hasMore={share.hasMore} onMore={share.showMore}
            onUse={(text) => setWords((was) => ({ text, at: was.at + 1 }))}
            onReported={(id) => share.setGallery((was) => was?.filter((one) => one.id !== id) ?? null)}
          />
        )}
      </main>
      <footer>
        {until && <p>{t("share.visit.until", { date: until })}</p>}
        <p>{t("share.visit.made")}</p>
        <Languages />
      </footer>
      <div role="status" className="toasts">
        {removals.leaving.map((id) => (
          <p key={id} className="toast">{t("share.visit.removed")} <button type="button" onClick={() => removals.undo(id)}>{t("common.undo")}</button></p>
        ))}
      </div>
    </>
  );
}

/** What is shown where there is no page: while it is fetched, and when it is over. */
function Alone({ error }: { error: ShareError | null }) {
  const { t } = useTranslation();
  const over = error?.code === "share_over";
  const away = !error || error.status === NO_ANSWER;
  const [title, text] = away
    ? [error ? t("share.visit.noAnswer") : t("share.visit.opening"), ""]
    : error.status === 429
      ? [t("share.visit.tooMany"), t("share.visit.waitSeconds", { count: error.retryAfter ?? 60 })]
      : [over ? t("share.visit.over") : t("share.visit.nowhere"), over ? t("share.visit.overText") : t("share.visit.nowhereText")];
  return (
    <main className="alone" aria-busy={away}>
      <h1>{title}</h1>
      {text && <p className="intro">{text}</p>}
      {!away && <Languages />}
    </main>
  );
}
