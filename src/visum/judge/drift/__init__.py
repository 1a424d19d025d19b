"""Is what comes in now still what the classifier was judged on? Four answers that do not get into each other's way.

A reference (validation pictures: embeddings, logits, labels) is compared with new pictures. Four things may have changed:

    covariate   how pictures look: p(x | y) is another one (camera, light, blur, another place)
    label       how often each class comes: p(y) is another one, pictures of a class look as they did
    concept     what pictures are called: p(y | x) is another one, although they look as they did; needs some labels
    unknown     a share of pictures is of nothing that was known

Any of them moves the distribution of embeddings, so that a plain two-sample test answers to all of them and names none. What
tells them apart:

1. **Covariate, given the label shift.** If only p(y) changes, so does p(x) = sum p(y) p(x | y), and a plain test raises an alarm
   (58 % of the time in a moderate label shift of the garments). Therefore new and old pictures are compared *within the answer
   that they got*: among pictures called "dress", old and new ones are exchangeable whatever the share of dresses is, up to the
   wrong answers among them, whose mixture follows p(y) too. Where a label shift is seen, old pictures are thinned by their true
   labels so that the mixture within each answer becomes the new one (``labels.thinned``). The null distribution is that of
   pictures which change places within an answer: exact, so that no bootstrap has to know how shares were estimated (false alarms
   under the same label shifts: 3 to 6 %).
2. **Label, given the pictures.** BBSE and EM hold if p(x | y) stayed; what they say of other pictures is worthless, and other
   pictures change the mix of answers as well. So the label shift is judged only where the pictures are quiet, else it is
   ``unclear``.
3. **Concept, given the labels.** Under a label shift p(y | x) changes too (a picture between two classes is now more often the
   frequent one). p(x | y) does not, so that old and new *labelled* pictures change places within their true class: exact under a
   label shift without any estimate. The statistic is errors beyond what the answers' own confidence announced. Where pictures
   have changed, errors are explained by them and the concept is ``unclear``.
4. **Unknown, given both.** The tail of the strangers' score is compared within answers. A general change of pictures moves
   the tail as well, and strangers move the embeddings: where the tail has grown, pictures are compared once more without the
   strangest fifth of the reference. Still different: the pictures have changed (``covariate``) and strangers are ``unclear``.
   Not any more: it was the strangers.

Every p is one of pictures that change places (``exchange``), so that each kind of alarm comes in ``alpha`` of windows without
drift; over many windows see ``stream``. All of it takes the pictures of a window as drawn independently: hundred frames of one
film are one picture.
"""
