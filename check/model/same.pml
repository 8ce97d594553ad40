/* Who waits for one connection (same.go), beside who waits for any: one connection, and every way to it.

   A word of the slot is phase + 4*generation. The two queues are lists whose front is found in one step (queue.pml). The
   connection is put back by its holder, taken by a Get on its fast path, asked for by name, marked (spoil), closed by its
   holder, given up with the pool. Nothing is opened: once it is gone, who waits for any may wait for good, and nobody
   who waits for it does.

   Knobs: S: calls of GetSame. G: of Get. CANCEL: a bit for each GetSame whose ctx may end. SPOIL, CLOSE, DISCARD: whether
   there is one. RESERVE: the holder reserves the connection. HELD: the connection is leased at first, and put back (or, with DISCARD, perhaps closed).
   BUG=n: a seeded fault, see the table in run. */
#ifndef S
#define S 1
#endif
#ifndef G
#define G 1
#endif
#ifndef CANCEL
#define CANCEL 0
#endif
#ifndef BUG
#define BUG 0
#endif
#define W 5                        /* who waits: 1..S for this one, S+1..S+G for any */
#define VACANT 0
#define BUSY 1
#define IDLE 2
#define LEASED 3
#define PH(w) ((w)&3)
#define NEXT(w) ((w)+4)
#define WANTED 1
#define DEFECT 2
#define GONE 1                     /* in place of a word: errors. No word of a lease is so small */
#define CLOSED 2

byte cell;                         /* the word of the slot */
bit here=1;                        /* the connection is in it */
byte notice=0;
byte kept=0, resv=0;               /* the word with which it is to be reserved; with which it is. Its own place: c.reserved */
bit yields=0;                      /* whoever waits for any may have it all the same */
bit closed=0, lent=0, marked=0;    /* marked: spoil has returned, or the pool is closed */
byte gate=0, came=0;               /* who wait for any; how many have come to */
byte line[W], lines=0, any[W], anys=0;       /* the queues */
byte state[W+1];                   /* 0: not linked; 1: linked; 2: linked, and the notice is set; 3: decided */
byte ticket[W+1], after[W+1], number[W+1], place[W+1];   /* after: the last ticket in line up to this one; number: how many have come for any, with this one; place: in its queue */
byte token[W+1];                   /* what a waiter is given; 0: nothing yet */


#define LIVE(w) (state[w]==1 || state[w]==2)
/* f is the first in a queue who is not decided, or 0. */
#define FRONT(q, n, f) f=0; k=0; do :: k<n && f==0 -> if :: LIVE(q[k]) -> f=q[k] :: else -> skip fi; k++ :: else -> break od; k=0
#define LOCALS byte own=0, f=0, k=0, a=0, s=0, j=0, seen=0; bit down=0, stays=0, late=0, mine=0

/* Whoever has the connection from now on is alone, and has not asked after it was given up. */
inline lend() { assert(!lent && here && !late); lent=1 }

/* An error for all who wait for this one. */
inline drain(err) {
  do
  :: atomic { FRONT(line, lines, f); if :: f==0 -> break :: else -> skip fi };
     atomic { if :: LIVE(f) -> state[f]=3; token[f]=(closed -> CLOSED : err) :: else -> skip fi; f=0 }
  od
}

/* Take the slot if it is idle: own is its word then, and 0 otherwise. */
inline takeOf() {
  own=cell;
  if
  :: atomic { !here || PH(own)!=IDLE && resv==0 -> own=0 }
  :: atomic { here && PH(own)==IDLE -> skip };
     retake()
  :: atomic { here && PH(own)!=IDLE && resv!=0 -> skip };
     if :: atomic { resv==own -> skip }; takeReserved() :: atomic { resv!=own -> own=0 } fi
  fi
}

/* Take the reservation whose word is own. */
inline takeReserved() {
  atomic { if :: resv==own -> resv=0 :: else -> own=0 fi };                  /* @ reserve.go takeReserved reserved.CompareAndSwap */
  atomic { if :: own!=0 && cell!=own -> own=0 :: else -> skip fi }           /* revoked */
}

/* Give what is reserved to who waits for any: there is no other. */
inline lapse() {
  own=resv;
  if
  :: own!=0 ->
     takeReserved();
     if :: own!=0 -> yields=1; settle() :: else -> skip fi
  :: else -> skip
  fi
}

/* reserve, and what follows: own is 0 unless it is wanted at once. */
inline reserve() {
  yields=0;
  resv=own;                                                                  /* @ reserve.go reserve reserved.Store */
  if
  :: atomic { notice!=0 || closed || cell!=own -> skip }; takeReserved()
  :: atomic { notice==0 && !closed && cell==own -> skip };
     if
     :: atomic { gate!=0 -> FRONT(any, anys, f); own=(f!=0 -> own : 0); f=0 };
        if :: own!=0 -> takeReserved(); if :: own!=0 -> yields=1 :: else -> skip fi :: else -> skip fi
     :: atomic { gate==0 -> own=0 }
     fi
  fi
}

inline retake() { atomic { if :: cell==own -> cell=own+1; own=own+1 :: else -> own=0 fi } }

/* stays: somebody waits, and the notice is up again. */
inline takeDown() {
  atomic { if :: notice==WANTED -> notice=0; down=1 :: else -> down=0 fi };          /* @ same.go takeDown notice.CompareAndSwap */
#if BUG!=92
  if
  :: down ->
     atomic { FRONT(line, lines, f) };
     if
     :: f!=0 -> f=0; stays=1;
        atomic { if :: notice==0 -> notice=WANTED :: else -> skip fi }       /* @ same.go takeDown notice.CompareAndSwap #2 */
     :: else -> skip
     fi
  :: else -> skip
  fi;
#endif
  down=0
}

/* Has the slot, which has been published with the word own, to be taken back? */
inline wanted() {
  if
  :: own!=0 ->
     if
#if BUG!=91
     :: atomic { notice!=0 -> f=1 }
#endif
     :: atomic { (notice==0 || BUG==91) -> skip };
        if
        :: atomic { closed -> f=1 }
        :: atomic { !closed -> FRONT(any, anys, f) }
        fi
     fi;
     if
     :: f!=0 -> f=0; retake()
     :: else -> own=0
     fi
  :: else -> skip
  fi
}

inline destroy() {
  atomic { if :: cell==own -> cell=own-LEASED+BUSY; own=cell :: else -> own=0 fi };  /* Reserve */
  if
  :: own!=0 ->
#if BUG==93
     drain(GONE);
#endif
     atomic { assert(here && !lent); here=0 };                               /* @ close.go part slots[].Store */
     resv=0;                                                                 /* @ reserve.go unreserve reserved.Swap */
#if BUG!=93
     drain(GONE);
#endif
     atomic { cell=own-BUSY; own=0 }                                         /* Vacate */
  :: else -> skip
  fi
}

/* Find the next owner of the slot, whose word is own. */
inline settle() {
  do
  :: own==0 -> break
  :: else ->
     if
     :: atomic { notice==DEFECT -> skip }; destroy()
     :: atomic { notice!=DEFECT -> skip };
        if
        :: atomic { closed -> skip }; destroy()
        :: atomic { !closed -> skip };
           atomic { j=1; seen=0; do :: j<=S+G -> if :: state[j]==2 || j>S && state[j]==1 -> seen=seen|(1<<j) :: else -> skip fi; j++ :: else -> break od; j=0;
                    FRONT(any, anys, a) };
           atomic { if :: kept==own && !yields -> a=0; seen=seen&((1<<(S+1))-1) :: else -> skip fi };       /* for those alone who ask for it */
           if
           :: atomic { notice==0 -> s=0 }
           :: atomic { notice!=0 -> skip };
              atomic { FRONT(line, lines, s) }
           fi;
           atomic { if :: s!=0 && (a==0 || ticket[s]<number[a] && BUG!=90) -> a=s :: else -> skip fi; s=0 };
           if
           :: a==0 ->
              takeDown();
              if
              :: stays -> stays=0
              :: !stays && kept==own -> reserve()
              :: !stays && kept!=own ->
                 atomic { if :: cell==own -> cell=own-1; own=own-1 :: else -> own=0 fi };     /* Publish */
                 wanted()
              fi
           :: else ->
              if
              :: atomic { notice==DEFECT -> a=0 }                            /* perhaps marked before it was linked */
              :: atomic { notice!=DEFECT -> skip };
                 atomic {
                   if
                   :: LIVE(a) ->                                             /* grant */
                      state[a]=3; token[a]=own; own=0;
                      /* nobody came first whom settle could see, and who waits still */
                      j=1;
                      do
                      :: j<=S+G ->
                         if
                         :: (seen>>j)&1 && LIVE(j) && j>S && a>S -> assert(number[a]<number[j])
                         :: (seen>>j)&1 && LIVE(j) && j>S && a<=S -> assert(ticket[a]<number[j])
                         :: (seen>>j)&1 && LIVE(j) && j<=S && a>S -> assert(number[a]<=after[j])
                         :: (seen>>j)&1 && LIVE(j) && j<=S && a<=S -> assert(place[a]<place[j])
                         :: else -> skip
                         fi;
                         j++
                      :: else -> break
                      od;
                      j=0;
                      if :: a>S -> gate-- :: else -> skip fi
                   :: else -> skip
                   fi;
                   a=0; seen=0 }
              fi
           fi
        fi
     fi
  od
}

/* Put, of a lease whose word is own. */
inline put() {
  atomic { if :: cell==own -> assert(lent); lent=0; cell=own+4-1; own=own+4-1 :: else -> own=0 fi };         /* Give */
  if
  :: own!=0 ->
     if
     :: atomic { gate!=0 || closed -> f=1 }
     :: atomic { gate==0 && !closed -> f=0 };
#if BUG!=91
        atomic { if :: notice!=0 -> f=1 :: else -> skip fi }
#endif
     fi;
     if
     :: f!=0 -> f=0; wanted(); settle()
     :: else -> own=0
     fi
  :: else -> skip
  fi
}

/* What a Get has taken: its own, or passed on. */
inline admit() {
  if
  :: atomic { notice==0 -> lend(); mine=1 }
  :: atomic { notice==DEFECT -> skip }; settle()
  :: atomic { notice==WANTED -> skip };
     takeDown();
     if
     :: stays -> stays=0; settle()
     :: atomic { !stays && notice==0 -> lend(); mine=1 }
     :: atomic { !stays && notice!=0 -> skip }; settle()
     fi
  fi
}

/* Wait for a token: own is its word, or 0 after an error. */
inline await(w, cancels) {
  if
  :: atomic { token[w]!=0 -> own=token[w]; token[w]=0; if :: own<=CLOSED -> own=0 :: else -> lend(); mine=1 fi }
  :: atomic { cancels && token[w]==0 -> if :: LIVE(w) -> state[w]=3; if :: w>S -> gate-- :: else -> skip fi; f=0 :: else -> f=1 fi };
     if
     :: f==1 -> atomic { token[w]!=0 -> own=token[w]; token[w]=0; f=0; if :: own<=CLOSED -> own=0 :: else -> skip fi };
        settle()
     :: else -> skip
     fi
  fi
}

proctype Same(byte w) {
  LOCALS;
  atomic { late=marked };
  if                               /* marked */
  :: atomic { !here -> goto end }
  :: atomic { here -> skip };
     if
     :: atomic { notice==DEFECT -> goto end }
     :: atomic { notice!=DEFECT -> skip };
        if :: atomic { closed -> goto end } :: atomic { !closed -> skip } fi
     fi
  fi;
  takeOf();
  if
  :: own!=0 ->
     if
     :: atomic { notice==0 && !closed && (gate==0 || kept==own) -> skip }; admit()
     :: atomic { notice!=0 || closed || gate!=0 && kept!=own -> skip }; settle()
     fi
  :: else -> skip
  fi;
  if
  :: mine -> skip
  :: else ->
     ticket[w]=came;
     atomic { line[lines]=w; place[w]=lines; state[w]=1; after[w]=ticket[w];
              if :: lines>0 && after[line[lines-1]]>ticket[w] -> after[w]=after[line[lines-1]] :: else -> skip fi; lines++ };
     atomic { if :: notice==0 -> notice=WANTED :: else -> skip fi; if :: LIVE(w) -> state[w]=2 :: else -> skip fi };         /* @ same.go waitSame notice.CompareAndSwap */
#if BUG!=94
     takeOf();
     settle();
#endif
     if
     :: atomic { notice==DEFECT -> f=1 }
     :: atomic { notice!=DEFECT -> skip };
        if
        :: atomic { !here -> f=1 }
        :: atomic { here -> skip };
           atomic { if :: closed -> f=1 :: else -> skip fi }
        fi
     fi;
     if :: f==1 -> f=0; drain(GONE) :: else -> skip fi;
end_same:
     await(w, (CANCEL>>w)&1)
  fi;
  if :: mine -> mine=0; put() :: else -> skip fi;
end:
  skip
}

proctype Get(byte w) {
  LOCALS;
  atomic { late=marked };
  if
  :: atomic { gate!=0 || closed -> skip }
  :: atomic { gate==0 && !closed -> skip };
     if
     :: atomic { PH(cell)==IDLE -> own=cell+1; cell=own }; admit()           /* Take */
     :: atomic { PH(cell)!=IDLE -> skip }
     fi
  fi;
  if
  :: mine -> skip
  :: else ->
     if
     :: atomic { closed -> goto end }
     :: atomic { !closed -> gate++ }
     fi;
     atomic { came++; number[w]=came; any[anys]=w; place[w]=anys; anys++; state[w]=1 };
     own=cell;                     /* it looks at all slots: serve, which is admit and settle */
     if :: atomic { PH(own)==IDLE -> skip }; retake() :: atomic { PH(own)!=IDLE -> own=0 } fi;
     if
     :: own!=0 ->
        settle()
     :: else -> skip
     fi;
#ifdef RESERVE
     if :: atomic { LIVE(w) && resv!=0 -> skip }; lapse() :: atomic { !LIVE(w) || resv==0 -> skip } fi;
#endif
     if
     :: atomic { closed && LIVE(w) -> state[w]=3; gate--; token[w]=CLOSED }
     :: atomic { !(closed && LIVE(w)) -> skip }
     fi;
end_get:
     await(w, 0)
  fi;
  if :: mine -> mine=0; put() :: else -> skip fi;
end:
  skip
}

proctype Holder() {                /* puts back what it has, or closes it */
  LOCALS;
  own=cell;
#ifdef DISCARD
  if
  :: true -> put()
  :: true -> atomic { lent=0; if :: cell==own -> cell=NEXT(own); own=cell :: else -> own=0 fi };              /* Renew */
     if :: own!=0 -> destroy() :: else -> skip fi
  fi
#else
#ifdef RESERVE
  atomic { if :: cell==own -> assert(lent); lent=0; cell=NEXT(own); own=cell; kept=own :: else -> own=0 fi };   /* PutFor */
  settle()
#else
  put()
#endif
#endif
}

#ifdef SPOIL
proctype Spoiler() {
  LOCALS;
  notice=DEFECT;                                                             /* @ conn.go mark notice.CompareAndSwap */
  drain(GONE);
  takeOf();
  if :: own!=0 -> destroy() :: else -> skip fi;
  marked=1
}
#endif

#ifdef CLOSE
proctype Closer() {                /* shut */
  LOCALS;
  closed=1;
  do
  :: atomic { FRONT(any, anys, f); if :: f==0 -> break :: else -> skip fi };
     atomic { if :: LIVE(f) -> state[f]=3; gate--; token[f]=CLOSED :: else -> skip fi; f=0 }
  od;
  if :: atomic { here -> skip }; drain(CLOSED) :: atomic { !here -> skip } fi;
  takeOf();
  settle();
  marked=1
}
#endif

init {
  byte k=0, m=0;
  atomic {
#ifdef HELD
    cell=LEASED+16; lent=1; run Holder();
#else
    cell=IDLE+16;
#endif
    k=1;
    do :: k<=S -> run Same(k); k++ :: else -> break od;
    do :: k<=S+G -> run Get(k); k++ :: else -> break od;
    k=0;
#ifdef SPOIL
    run Spoiler();
#endif
#ifdef CLOSE
    run Closer();
#endif
  }
  timeout;
  atomic {
    assert(!lent);
    assert(here -> (PH(cell)==IDLE && resv==0 || resv==cell) && notice==0 && !closed : PH(cell)==VACANT && resv==0);
    m=1;
    do
    :: m<=S -> assert(!LIVE(m)); m++
    :: m>S && m<=S+G -> assert(!LIVE(m) || !here); m++
    :: else -> break
    od;
    m=0
  }
}
