import { useQueryClient } from "@tanstack/react-query";
import { useCallback, useState } from "react";
import { createDataset, newDatasetName, upload, type Uploaded, type UploadProgress } from "../newSubject/upload";

/** Sends photos to a dataset; without one, to a new one. */
export function useUpload(dataset: string | null, onDataset?: (name: string) => void) {
  const client = useQueryClient();
  const [progress, setProgress] = useState<UploadProgress | null>(null);
  const [refused, setRefused] = useState<Uploaded["refused"]>([]);
  const [error, setError] = useState<unknown>(null);
  const send = useCallback(
    async (files: File[]) => {
      setError(null);
      setRefused([]);
      setProgress({ done: 0, total: files.length });
      try {
        const name = dataset ?? (await createDataset(newDatasetName())).name;
        onDataset?.(name);
        setRefused((await upload(name, files, setProgress)).refused);
      } catch (failed) {
        setError(failed);
      } finally {
        setProgress(null);
        void client.invalidateQueries({ queryKey: ["datasets"] });
        void client.invalidateQueries({ queryKey: ["tags"] });
      }
    },
    [client, dataset, onDataset],
  );
  const sendNow = useCallback((files: File[]) => void send(files), [send]);
  return { progress, refused, error, send: sendNow };
}
