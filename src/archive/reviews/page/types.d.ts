// What /api/films answers. For the type check of the script alone: the page does not load it.

export interface FilmList {
  archive: string;
  films: ListedFilm[];
  /** How many films all pages have. */
  total: number;
  known: number;
  /** Films that were not read yet. */
  unread: number;
  /** Reviews of films that are not in the archive. */
  orphans: number;
}

export interface ListedFilm {
  key: string;
  title: string;
  video: string;
  /** In seconds; null if it is not known. */
  duration: number | null;
  progress: {
    cues: number;
    unchecked: number;
    lowest: number | null;
    mean: number | null;
    changes: number;
    last_change: string | null;
  };
  standing: "untouched" | "current" | "described-again";
  presence: "here" | "missing" | "changed" | "elsewhere";
  has_thumbnail: boolean;
  /** Why nothing more is known of it. */
  fault: string | null;
}

/** Which part of the list is shown. */
export interface Choice {
  find: string;
  order: string;
  show: string;
  page: number;
}
